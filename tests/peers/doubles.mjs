// The model and the tool that a server calls while clients are tried against it. The last word of a message names a plan of
// plans.json, so that each request of a turn has the same answer.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export const plans = JSON.parse(readFileSync(new URL("plans.json", import.meta.url)));

/** Between the words of a slow answer. */
const PACE_MS = 60;
/** Before the first word of a late answer. */
const LATE_MS = 3000;

/** Starts a server on a spare port, and returns `host:port`. */
export async function listen(handler) {
  const server = createServer((request, response) => {
    handler(request, response).catch((error) => response.destroy(error));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `127.0.0.1:${server.address().port}`;
}

export async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function json(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** The round that the request asks for. */
function round(messages) {
  const asked = messages.findLastIndex((message) => message.role === "user");
  const content = messages[asked]?.content ?? "";
  const text = typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
  const rounds = plans[text.split(" ").at(-1)] ?? plans.plain;
  const done = messages.slice(asked).filter((message) => message.tool_calls).length;
  return rounds[Math.min(done, rounds.length - 1)];
}

/** An OpenAI-compatible model that streams word by word. */
export async function model(request, response) {
  const { messages = [], stream, stream_options } = JSON.parse((await body(request)) || "{}");
  if (!stream) return json(response, 200, { object: "list", data: [{ id: "fake", object: "model" }] });
  const { text = "", calls = [], slow, late, status } = round(messages);
  if (status) return json(response, status, { error: { message: "No.", type: "test", param: null, code: null } });
  response.writeHead(200, { "content-type": "text/event-stream" });
  const chunk = (choices, more = {}) => {
    const value = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "fake", choices, ...more };
    response.write(`data: ${JSON.stringify(value)}\n\n`);
  };
  const delta = (value, finish_reason = null) => chunk([{ index: 0, delta: value, finish_reason }]);
  if (late) await sleep(LATE_MS);
  delta({ role: "assistant", content: "" });
  for (const word of text.match(/\S+\s*/g) ?? []) {
    if (slow) await sleep(PACE_MS);
    if (response.destroyed) return;
    delta({ content: word });
  }
  const tool_calls = calls.map((call, index) => ({
    index,
    id: `call_${messages.length}_${index}`,
    type: "function",
    function: { name: call.name, arguments: JSON.stringify(call.arguments) },
  }));
  if (tool_calls.length > 0) delta({ tool_calls });
  delta({}, tool_calls.length > 0 ? "tool_calls" : "stop");
  const usage = { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 };
  if (stream_options?.include_usage) chunk([], { usage });
  response.end("data: [DONE]\n\n");
}

/** An MCP server with one tool. */
function mcp(request, response, { id, method, params }) {
  const results = {
    initialize: { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "peers", version: "1.0.0" } },
    "tools/list": { tools: [{ name: "lookup", description: "Looks something up", inputSchema: { type: "object" } }] },
    "tools/call": { content: [{ type: "text", text: "found" }] },
  };
  if (id === undefined) return response.writeHead(request.method === "POST" ? 202 : 405).end();
  const error = { code: -32601, message: "Method not found" };
  json(response, 200, { jsonrpc: "2.0", id, ...(results[method] ? { result: results[method] } : { error }) });
}

/** The endpoint of the webhook tools, and an MCP server. */
export async function tool(request, response) {
  const text = await body(request);
  if (request.url === "/mcp") return mcp(request, response, JSON.parse(text || "{}"));
  if (request.url === "/orders/broken") return json(response, 500, {});
  json(response, 200, { ok: true });
}
