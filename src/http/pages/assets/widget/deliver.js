// The delivery of a message: it is sent, and its reply is shown as it comes.
import { Failure, failureFrom } from "./failures.js";
import { updatePending } from "./pending.js";
import { Reply } from "./reply.js";
import { pause } from "./sse.js";
import { readTurn } from "./turn_stream.js";

/** The most connections that may break before the visitor is asked: of a turn that has begun, and before that. */
const MAX_BREAKS = 7;
const MAX_TRIES = 2;
const RETRYABLE = ["busy", "offline", "limit"];
/** The longest wait, in seconds, that a visitor is not asked about. */
const SHORT_WAIT = 5;

export class Delivery {
  isStopping = false;

  /** `item` is the visitor's. `pending` is the message; null if another page has sent it. `body`: a stream of the turn that is open. */
  constructor(chat, item, pending, body = null) {
    Object.assign(this, { chat, item, pending, body, scope: chat.scope });
    this.reply = new Reply(chat, (id) => this.#begin(id));
  }

  get state() {
    return { turn: this.reply.turn, isStopping: this.isStopping };
  }

  async run() {
    const { chat, item, reply } = this;
    this.#showItem({ progress: "sending", failure: null });
    chat.setRunning(this);
    if (chat.state.status.aiEnabled) reply.wait();
    const end = await this.#follow().catch((error) => ({ failure: failureFrom(error) }));
    if (this.scope.aborted) return;
    chat.setRunning(null);
    if (end.failure) return chat.fail(this, end.failure);
    if (item) this.#showItem({ progress: "done" });
    this.#finish(end);
  }

  /** Stops the turn. What the model has written so far becomes the reply. */
  async stop() {
    this.isStopping = true;
    this.chat.notifyState();
    // Without its id it is stopped when its stream begins.
    if (this.reply.turn === null) return;
    try {
      await this.chat.api.cancel(this.chat.conversation, this.reply.turn, this.scope);
    } catch (error) {
      if (this.scope.aborted || this.chat.running !== this) return;
      this.isStopping = false;
      this.chat.notifyState();
      this.chat.notify({ kind: "failure", failure: failureFrom(error) });
    }
  }

  /** The turn has begun; `id` is the visitor's message. */
  #begin(id) {
    const { chat, item, pending } = this;
    chat.setConnection("online");
    if (item) {
      chat.log.identify(item, id);
      this.#showItem({ progress: "done" });
    }
    if (pending) updatePending(chat.storage, Object.assign(pending, { id }), pending);
    chat.releaseDeferred();
    chat.notifyState();
    if (this.isStopping) void this.stop();
  }

  /** Shows the turn until it ends, over as many connections as that takes. Each begins with the turn's start. Returns the turn's end;
   * where there is no turn, the server's `answer`. */
  async #follow() {
    const { chat, pending, reply, scope } = this;
    const uuid = chat.conversation;
    const open = () => (pending ? chat.api.send(uuid, pending.text, pending.key, scope) : chat.api.resume(uuid, scope));
    for (let breaks = 1; ; breaks += 1) {
      let failure = new Failure("offline", "same");
      try {
        const opened = this.body ?? (await open());
        this.body = null;
        if (!(opened instanceof ReadableStream)) return { answer: opened };
        const end = await readTurn(opened, reply);
        if (end) return end;
      } catch (error) {
        failure = failureFrom(error);
      }
      const isLate = reply.turn === null ? breaks > MAX_TRIES || failure.after > SHORT_WAIT : breaks > MAX_BREAKS;
      if (scope.aborted || !RETRYABLE.includes(failure.code) || isLate) throw failure;
      if (reply.turn !== null) chat.setConnection("reconnecting");
      await pause(Math.max(250 * 2 ** Math.min(breaks, 5), 1000 * failure.after), scope);
    }
  }

  #finish({ kind, error = "", answer }) {
    const { chat, reply } = this;
    const isOff = answer?.ai_disabled || / AI was switched off/.test(error);
    if (isOff) chat.setStatus({ aiEnabled: false });
    if (kind === "failed" && !isOff) return chat.fail(this, new Failure("no_reply", "new"));
    updatePending(chat.storage, this.pending, null);
    if (answer?.message) reply.take(answer);
    else if (isOff || answer) reply.remove();
    if (answer === null) {
      // The turn has ended while this page was not connected.
      reply.remove();
      void chat.refresh();
    } else if (!isOff) reply.end(kind === "stopped" ? "stopped" : "done");
    chat.releaseDeferred();
  }

  #showItem(fields) {
    if (!this.item) return;
    Object.assign(this.item, fields);
    this.chat.notify({ kind: "item", item: this.item });
  }
}
