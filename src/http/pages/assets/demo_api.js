// The requests of the widget API that this page makes, and the meaning of their responses.

const ASSISTANT = "550e8400-e29b-41d4-a716-446655440000";
const LIMIT = 2000;
/** Longer than the server waits for a reply (`widget.deadline`). A stream takes as long as its turn, but begins at once. */
const REPLY_TIMEOUT_MS = 75_000;

/** An error, described for a visitor.
 *
 * `kind`: `gone` (no such conversation), `absent` (no demo here), `ended`, `invalid`, `refused`.
 * `uncertain`: the message may have arrived, so a retry must carry the same key. `after`: seconds. */
class ChatError extends Error {
  constructor(title, { detail = "", kind = "refused", uncertain = false, after = 0 } = {}) {
    super(title);
    Object.assign(this, { title, detail, kind, uncertain, after });
  }
}

const api = {
  begin: () => call("POST", "api/conversations", { body: { assistant_id: ASSISTANT } }),
  history: (uuid, after = "") => call("GET", `api/conversations/${uuid}${after && `?after=${after}`}`),
  /** The body of the turn's stream; where no turn is made, the contract's answer. The same key joins the same turn. */
  send: (uuid, message, key, signal) =>
    openStream("POST", `api/conversations/${uuid}/messages`, { body: { message }, key, signal }),
  /** The body of the stream of the turn that is running; null if none is. */
  resume: (uuid, signal) => openStream("GET", `api/chat/${uuid}/stream`, { signal }),
  cancel: (uuid, turn) => call("POST", `api/conversations/${uuid}/cancel`, { body: { turn_id: turn } }),
};

async function call(method, path, { body } = {}) {
  return answerOf(await request(method, path, { Accept: "application/json" }, { body }));
}

async function openStream(method, path, { body, key, signal }) {
  const response = await request(method, path, { Accept: "text/event-stream" }, { body, key, signal });
  if (response.status === 204) return null;
  const type = response.headers.get("Content-Type") ?? "";
  return response.ok && type.startsWith("text/event-stream") ? response.body : answerOf(response);
}

async function request(method, path, headers, { body, key, signal }) {
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException("There was no answer in time.", "TimeoutError")), REPLY_TIMEOUT_MS);
  try {
    const signals = AbortSignal.any(signal ? [signal, late.signal] : [late.signal]);
    return await fetch(path, { method, headers, signal: signals, body: body && JSON.stringify(body) });
  } catch (error) {
    throw connectionError(error);
  } finally {
    clearTimeout(timer);
  }
}

async function answerOf(response) {
  let answer;
  try {
    answer = await within(response.json(), REPLY_TIMEOUT_MS);
  } catch (error) {
    throw connectionError(error, response);
  }
  if (response.ok) return answer;
  throw contractError(response, answer);
}

function connectionError(error, response) {
  if (response && !response.ok) {
    return new ChatError("The server could not respond.", { detail: `It returned status ${response.status}.`, uncertain: true });
  }
  if (error.name === "TimeoutError") {
    return new ChatError("The server did not respond in time.", { detail: "Trying again will not send it twice.", uncertain: true });
  }
  return lostConnection();
}

/** A fault of this page, which its console describes. */
function defect(error) {
  console.error(error);
  return new ChatError("Something went wrong on this page.", { uncertain: true });
}

function lostConnection() {
  return new ChatError("The connection was lost.", { detail: "Trying again will not send it twice.", uncertain: true });
}

/** The contract's errors. See `docs/errors.md` for the codes. */
function contractError(response, answer) {
  const code = response.headers.get("Rejoinder-Error") ?? "";
  const text = answer?.error ?? answer?.message ?? `The server returned status ${response.status}.`;
  const after = Number(response.headers.get("Retry-After") ?? answer?.retry_after) || 0;
  if (response.status === 404 && text === "Assistant not found") return new ChatError(text, { kind: "absent" });
  if (response.status === 404) return new ChatError(text, { kind: "gone" });
  if (response.status === 422 && answer?.errors) return new ChatError(text, { kind: "invalid" });
  // A limit of the conversation, which does not refill.
  if (code === "limit_reached" && after >= 86_400) return new ChatError("This conversation is full.", { kind: "ended" });
  if (response.status === 429) {
    return new ChatError("Too many messages.", { detail: "The demo accepts a limited number of messages per minute.", after, uncertain: true });
  }
  if (response.status === 409) {
    return new ChatError("Your message is still being answered.", { detail: "Try again to get the reply.", after, uncertain: true });
  }
  if (response.status >= 500) {
    return new ChatError("The server is busy.", { detail: `${text.replace(/\.$/, "")}.`, after, uncertain: true });
  }
  if (text.startsWith("Insufficient balance")) {
    return new ChatError("The demo's balance is used up.", { detail: "Top it up with `rejoinder credit demo 10.00`, then try again." });
  }
  if (code === "conversation_ended" || text.endsWith("The conversation has ended")) {
    return new ChatError("This conversation has ended.", { kind: "ended" });
  }
  const reason = text.match(/^Failed to process message: (.*)$/)?.[1];
  if (!reason) return new ChatError("The message was not accepted.", { detail: text });
  if (code === "outcome_unknown") {
    return new ChatError(`${reason}.`, { detail: "Trying again will not send it twice.", uncertain: true });
  }
  return noReply(reason, after);
}

function noReply(reason, after = 0) {
  return new ChatError("There was no reply.", { detail: `${reason.replace(/\.$/, "")}. You were not charged.`, after });
}

/** A new key. `randomUUID` is not available without TLS. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The state that survives a reload: the conversation's UUID, and the message without a reply. */
const storage = {
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(`rejoinder.demo.${name}`));
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      if (value === null) localStorage.removeItem(`rejoinder.demo.${name}`);
      else localStorage.setItem(`rejoinder.demo.${name}`, JSON.stringify(value));
    } catch {
      // The browser stores nothing, so the conversation ends with the page.
    }
  },
};
