// Failures, each with a code that the view puts into a visitor's language. `docs/errors.md` lists the server's codes.

/** From this time on, in seconds, nobody waits for a limit to refill. */
const LONG_WAIT = 3600;
/** The `Retry-After` of a limit that never refills. */
const NEVER = 86_400;

/** `retry`: `same` sends the request again with its key, because it may have been carried out; `new` needs a new key; null: in vain.
 * `after`: seconds to wait before; `until`: when they are over, in milliseconds. `detail`: the server's own text, where a visitor or the
 * site's developer can use it. */
export class Failure extends Error {
  constructor(code, retry = null, { after = 0, detail = "" } = {}) {
    super(code);
    Object.assign(this, { name: "Failure", code, retry, after, until: Date.now() + 1000 * after, detail });
  }
}

/** The failure of a connection, by the error of `fetch` or of a body. */
export function lostConnection(error) {
  return new Failure(error?.name === "TimeoutError" ? "timeout" : "offline", "same");
}

/** The failure that an error stands for. Any other than a failure is a fault of this code, which the console describes. */
export function failureFrom(error) {
  if (error instanceof Failure) return error;
  console.error("[rejoinder]", error);
  return new Failure("defect", "same");
}

/** The code and `retry` of a failure, by the server's codes. */
const REFUSALS = {
  assistant_not_found: ["absent"],
  conversation_not_found: ["gone"],
  conversation_ended: ["ended"],
  origin_refused: ["refused_origin"],
  invalid_identity: ["identity", "same"],
  insufficient_balance: ["no_credit", "new"],
  workspace_suspended: ["suspended", "new"],
  invalid_request: ["invalid"],
  idempotency_key_reused: ["defect", "new"],
  idempotency_key_in_flight: ["busy", "same"],
  outcome_unknown: ["busy", "same"],
  conversation_busy: ["busy", "same"],
};

/** The failure that a response stands for; `answer` is its body, or null if it is no JSON. */
export function refusalOf({ headers, status }, answer) {
  const reason = headers.get("Rejoinder-Error") ?? "";
  const text = answer?.error ?? answer?.message ?? "";
  const after = Number(headers.get("Retry-After") ?? answer?.retry_after) || 0;
  const [code, retry] = REFUSALS[reason] ?? refusalByStatus(status, after);
  const failure = new Failure(code, retry, { after: code === "no_credit" ? 0 : after });
  if (!["busy", "limit", "gone", "ended", "full"].includes(code)) console.warn(`[rejoinder] ${status} ${reason}: ${text}`);
  if (code === "invalid" || code === "identity") failure.detail = Object.values(answer?.errors ?? {})[0]?.[0] ?? text;
  return Object.assign(failure, { reason });
}

function refusalByStatus(status, after) {
  if (status === 429 && after >= NEVER) return ["full"];
  if (status === 429) return [after < LONG_WAIT ? "limit" : "no_credit", "same"];
  if (status >= 500 || status === 408) return ["busy", "same"];
  return [status === 400 ? "no_reply" : "defect", "new"];
}
