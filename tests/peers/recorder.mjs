// A proxy between a client and the server. It records what each sent, and can break a connection in the middle of a text.

import { request as send } from "node:http";

import { body, listen } from "./doubles.mjs";

const REQUEST_HEADERS = ["accept", "authorization", "content-type", "idempotency-key"];
const RESPONSE_HEADERS = [
  "content-type",
  "cache-control",
  "content-encoding",
  "rejoinder-error",
  "x-accel-buffering",
  "x-vercel-ai-ui-message-stream",
];

export class Recorder {
  exchanges = [];
  /** Break the connection after the next delta of a text. */
  cutsNextText = false;

  static async start(server) {
    const recorder = new Recorder();
    recorder.server = new URL(server);
    recorder.url = `http://${await listen((request, response) => recorder.relay(request, response))}`;
    return recorder;
  }

  /** The exchanges since the last call. */
  take() {
    return this.exchanges.splice(0);
  }

  async relay(request, response) {
    const sent = await body(request);
    const open = this.exchanges.findLast((exchange) => exchange.response.ending === "open");
    const exchange = {
      method: request.method,
      path: request.url,
      headers: pick(request.headers, REQUEST_HEADERS),
      body: parsed(sent),
      response: { ending: "open" },
    };
    // How many frames a still open exchange had when this one began.
    if (open) exchange.during = open.response.frames?.length ?? 0;
    this.exchanges.push(exchange);
    const { hostname, port } = this.server;
    const { host, connection, ...headers } = request.headers;
    const options = { hostname, port, method: request.method, path: request.url, headers };
    const upstream = send(options, (answer) => this.answer(exchange.response, answer, response));
    upstream.on("error", (error) => {
      end(exchange.response, "broken");
      response.destroy(error);
    });
    response.on("close", () => {
      // The client has gone before the end.
      if (!response.writableFinished) {
        end(exchange.response, "aborted");
        upstream.destroy();
      }
    });
    upstream.end(sent);
  }

  answer(record, answer, response) {
    record.status = answer.statusCode;
    record.headers = pick(answer.headers, RESPONSE_HEADERS);
    const isStream = (record.headers["content-type"] ?? "").startsWith("text/event-stream");
    if (isStream) record.frames = [];
    let rest = "";
    response.writeHead(answer.statusCode, answer.headers);
    response.flushHeaders();
    answer.setEncoding("utf8");
    answer.on("data", (chunk) => {
      rest += chunk;
      response.write(chunk);
      if (!isStream || record.ending !== "open") return;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      blocks.forEach((block) => add(record.frames, block));
      if (this.cutsNextText && record.frames.at(-1)?.type === "text-delta") {
        this.cutsNextText = false;
        end(record, "cut");
        // After the client has read the delta.
        setTimeout(() => response.destroy(), 50);
      }
    });
    answer.on("end", () => {
      if (!isStream) record.body = parsed(rest);
      end(record, "complete");
      response.end();
    });
    answer.on("aborted", () => {
      end(record, "broken");
      response.destroy();
    });
  }
}

function pick(headers, names) {
  return Object.fromEntries(names.filter((name) => headers[name]).map((name) => [name, headers[name]]));
}

function end(record, ending) {
  if (record.ending === "open") record.ending = ending;
}

function parsed(text) {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Adds the data of a block; consecutive deltas become one, because how a text is split is a matter of time. */
function add(frames, block) {
  const lines = block.split("\n").filter((line) => line.startsWith("data:"));
  if (lines.length === 0) return;
  const frame = parsed(lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n"));
  const last = frames.at(-1);
  if (frame?.type === "text-delta" && last?.type === "text-delta" && last.id === frame.id) last.delta += frame.delta;
  else frames.push(frame);
}

/** The ids of a server, in the order in which a text has them. */
const ID = /\b(?:con|msg|trn)_[0-9a-z]{26}\b/g;

/** Replaces everything that another run would have otherwise. `known` are texts with their names. */
export function normalized(exchanges, known) {
  for (const { response } of exchanges) {
    // How much of a text came before its end is a matter of time.
    const isStopped = response.frames?.some((frame) => frame.type === "abort");
    if (response.ending === "complete" && !isStopped) continue;
    for (const frame of response.frames ?? []) if (frame.type === "text-delta") frame.delta = "";
  }
  let text = JSON.stringify(exchanges);
  for (const [value, name] of known) text = text.replaceAll(value, `{${name}}`);
  const names = new Map();
  const name = (value, kind) => {
    if (!names.has(value)) names.set(value, `{${kind}_${names.size + 1}}`);
    return names.get(value);
  };
  text = text.replace(ID, (id) => name(id, id.slice(0, 3)));
  const calls = new Map();
  text = text.replace(/("toolCallId":")([^"]*)/g, (_, before, id) => {
    if (!calls.has(id)) calls.set(id, `{call_${calls.size + 1}}`);
    return before + calls.get(id);
  });
  return JSON.parse(text);
}
