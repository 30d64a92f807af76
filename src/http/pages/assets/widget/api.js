// The requests of the widget API. `docs/widget.md` describes them.
import { Failure, lostConnection, refusalOf } from "./failures.js";
import { within } from "./sse.js";

/** Longer than the server waits for a reply (`widget.deadline`). A stream takes as long as its turn, but begins at once. */
const ANSWER_MS = 75_000;

export class Api {
  /** `fetch` is the browser's. `token`: of an identified visitor, or null. */
  constructor({ server, assistant, fetch, token }) {
    Object.assign(this, { base: `${server}/api`, assistant, fetch, token });
  }

  settings(signal) {
    return this.#call("GET", `assistants/${encodeURIComponent(this.assistant)}`, { signal });
  }

  begin(variables, signal) {
    const body = { assistant_id: this.assistant, variables, identity_token: this.token ?? undefined };
    return this.#call("POST", "conversations", { body, signal });
  }

  list(signal) {
    return this.#call("GET", `conversations?assistant_id=${encodeURIComponent(this.assistant)}`, { signal });
  }

  /** The messages after the one with the id `after`, or the newest. */
  history(uuid, after, signal) {
    return this.#call("GET", `conversations/${uuid}${after ? `?after=${after}` : ""}`, { signal });
  }

  /** The body of the turn's stream; where no turn is made, the contract's answer. The same key joins the same turn. */
  send(uuid, message, key, signal) {
    return this.#stream("POST", `conversations/${uuid}/messages`, { body: { message }, key, signal });
  }

  /** The body of the stream of the turn that is running; null if none is. */
  resume(uuid, signal) {
    return this.#stream("GET", `chat/${uuid}/stream`, { signal });
  }

  /** The body of the stream of messages and status. */
  events(uuid, after, signal) {
    return this.#stream("GET", `conversations/${uuid}/events${after ? `?after=${encodeURIComponent(after)}` : ""}`, { signal });
  }

  cancel(uuid, turn, signal) {
    return this.#call("POST", `conversations/${uuid}/cancel`, { body: { turn_id: turn }, signal });
  }

  /** `rating` is `up`, `down`, or null. */
  rate(uuid, message, rating, signal) {
    const body = rating ? { rating } : undefined;
    return this.#call(rating ? "PUT" : "DELETE", `conversations/${uuid}/messages/${message}/feedback`, { body, signal });
  }

  async #call(method, path, options) {
    return answerOf(await this.#request(method, path, "application/json", options));
  }

  async #stream(method, path, options) {
    const response = await this.#request(method, path, "text/event-stream", options);
    if (response.status === 204) return null;
    const type = response.headers.get("Content-Type") ?? "";
    return response.ok && type.startsWith("text/event-stream") ? response.body : answerOf(response);
  }

  async #request(method, path, accept, { body, key, signal }) {
    const headers = { Accept: accept };
    if (body) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    if (this.token) headers["Rejoinder-Identity"] = this.token;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new DOMException("There was no answer in time.", "TimeoutError")), ANSWER_MS);
    const options = { method, headers, credentials: "omit", body: body && JSON.stringify(body) };
    try {
      return await this.fetch(`${this.base}/${path}`, { ...options, signal: AbortSignal.any([signal, late.signal]) });
    } catch (error) {
      throw lostConnection(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function answerOf(response) {
  let text;
  try {
    text = await within(response.text(), ANSWER_MS);
  } catch (error) {
    throw lostConnection(error);
  }
  const answer = parsed(text);
  if (response.ok && answer) return answer;
  // A success that is no JSON comes from something between this page and the server.
  throw response.ok ? new Failure("busy", "same") : refusalOf(response, answer);
}

/** The value that `text` is as JSON; null if it is none, such as the page of a proxy. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A new key of a message. `crypto.randomUUID` is not available without TLS. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
