// A reply as it is made: the item of the log that grows with its stream.
import { callPart, newItem, textOfItem, textPart } from "./log.js";

export class Reply {
  turn = null;

  /** `onBegin` is called with each start of the turn's stream. */
  constructor(chat, onBegin) {
    Object.assign(this, { chat, onBegin, item: newItem("assistant", { progress: "waiting" }) });
  }

  /** Shows that a reply is awaited. */
  wait() {
    const { log } = this.chat;
    this.item.progress = "waiting";
    if (!log.items.includes(this.item)) log.push(this.item);
    this.chat.notify({ kind: "items" });
  }

  /** Drops what an earlier stream of the turn has shown. */
  begin(id, { turn_id: turn, user_message_id: message }) {
    this.turn = turn;
    this.item.parts = [];
    this.chat.log.identify(this.item, id);
    this.wait();
    this.onBegin(message);
  }

  startCall(id, name, input) {
    this.item.parts.push(callPart(id, name, input, null));
    this.#show();
  }

  endCall(id, result) {
    const call = this.item.parts.find((part) => part.kind === "call" && part.id === id);
    if (call) Object.assign(call, { result, isRunning: false });
    this.#show();
  }

  startText() {
    this.item.parts.push(textPart(""));
  }

  appendText(delta) {
    const part = this.item.parts.at(-1);
    const isFirst = part.text === "";
    part.text += delta;
    if (isFirst) this.#show();
    else this.chat.notify({ kind: "delta", item: this.item, delta });
  }

  /** Takes the answer of a server that made no stream. */
  take({ message, function_calls: calls = [] }) {
    this.item.parts = calls.map((call, index) => callPart(`${index}`, call.name, call.arguments, call.result)).concat(textPart(message));
    this.wait();
  }

  /** `progress` is `done` or `stopped`. */
  end(progress) {
    const { item, chat } = this;
    item.progress = progress;
    item.parts = item.parts.filter((part) => part.kind === "call" || part.text !== "");
    item.parts.forEach((part) => part.isRunning && Object.assign(part, { isRunning: false }));
    chat.notify({ kind: "item", item, hasEnded: true });
    if (textOfItem(item) !== "") chat.announce(item);
  }

  remove() {
    this.chat.log.remove(this.item);
    this.chat.notify({ kind: "items" });
  }

  #show() {
    this.item.progress = "streaming";
    this.chat.notify({ kind: "item", item: this.item });
  }
}
