// A turn as it runs: the parts of the AI SDK's UI message stream. `docs/streaming.md` lists them.
import { readEvents } from "./sse.js";

/** The server sends at least a comment every 10 s. */
export const IDLE_TIMEOUT_MS = 30_000;

/** Passes the parts of a turn's stream to `reply`, and returns the end of the turn: `kind` is `finished`, `stopped`, or `failed` with
 * an `error`. Null if the stream has no such part, however it ended: the next stream of this turn then begins with its start. */
export async function readTurn(body, reply) {
  const events = readEvents(body, IDLE_TIMEOUT_MS);
  let end = null;
  try {
    for (;;) {
      // A connection that breaks and one that is closed early mean the same.
      const { value, done } = await events.next().catch(() => ({ done: true }));
      if (done || value.data === "[DONE]") return end;
      end = takePart(JSON.parse(value.data), reply) ?? end;
    }
  } finally {
    void events.return();
  }
}

/** Returns the end of the turn if the part is one. */
function takePart(part, reply) {
  switch (part.type) {
    case "start":
      reply.begin(part.messageId, part.messageMetadata ?? {});
      return null;
    case "tool-input-available":
      reply.startCall(part.toolCallId, part.toolName, part.input);
      return null;
    case "tool-output-available":
      reply.endCall(part.toolCallId, part.output);
      return null;
    case "tool-output-error":
      reply.endCall(part.toolCallId, { error: part.errorText });
      return null;
    case "text-start":
      reply.startText();
      return null;
    case "text-delta":
      reply.appendText(part.delta);
      return null;
    case "finish":
      return { kind: "finished" };
    case "abort":
      return { kind: "stopped" };
    case "error":
      return { kind: "failed", error: part.errorText };
    default:
      // The bounds of rounds and texts, and `data-…` parts, which a client may skip.
      return null;
  }
}
