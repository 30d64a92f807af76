// What can go wrong, in one word that the view puts into a visitor's language. `docs/errors.md` lists the server's codes.

/** From this time on, in seconds, nobody waits for a limit to refill. */
const LONG_WAIT = 3600;
/** The `Retry-After` of a limit that never refills. */
const NEVER = 86_400;

/** `retry`: `same` sends the request again with its key, because it may have been carried out; `new` needs a new key; null: in vain.
 * `after`: seconds to wait before. `detail`: the server's own text, where a visitor can use it. */
export class Failure extends Error {
  constructor(code, retry = null, { after = 0, detail = "" } = {}) {
    super(code);
    Object.assign(this, { name: "Failure", code, retry, after, detail });
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

/** The failure that a response stands for; `answer` is its body, or null if it is no JSON. */
export function refusalOf(response, answer) {
  const reason = response.headers.get("Rejoinder-Error") ?? "";
  const text = answer?.error ?? answer?.message ?? "";
  const after = Number(response.headers.get("Retry-After") ?? answer?.retry_after) || 0;
  const failure = refusal(reason, response.status, after);
  if (!["busy", "limit", "gone", "ended", "full"].includes(failure.code)) console.warn(`[rejoinder] ${response.status} ${reason}: ${text}`);
  if (failure.code === "invalid") failure.detail = Object.values(answer?.errors ?? {})[0]?.[0] ?? text;
  return Object.assign(failure, { reason });
}

function refusal(reason, status, after) {
  switch (reason) {
    case "assistant_not_found":
      return new Failure("absent");
    case "conversation_not_found":
      return new Failure("gone");
    case "conversation_ended":
      return new Failure("ended");
    case "origin_refused":
      return new Failure("refused_origin");
    case "invalid_identity":
      return new Failure("identity", "same");
    case "insufficient_balance":
      return new Failure("no_credit", "new");
    case "workspace_suspended":
      return new Failure("suspended", "new");
    case "invalid_request":
      return new Failure("invalid");
    case "idempotency_key_reused":
      return new Failure("defect", "new");
    case "outcome_unknown":
    case "conversation_busy":
    case "idempotency_key_in_flight":
      return new Failure("busy", "same", { after });
    case "limit_reached":
      if (after >= NEVER) return new Failure("full");
      return after >= LONG_WAIT ? new Failure("no_credit", "same") : new Failure("limit", "same", { after });
    default:
      if (status === 429) return new Failure("limit", "same", { after });
      if (status >= 500 || status === 408) return new Failure("busy", "same", { after });
      return status === 400 ? new Failure("no_reply", "new", { after }) : new Failure("defect", "new");
  }
}
