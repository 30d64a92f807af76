// The message that has no reply yet. It is stored, so that it is sent after a reload, too.
import { newKey } from "./api.js";
import { textOfItem } from "./log.js";

/** The server keeps keys for 24 hours. */
const KEY_MS = 86_000_000;

/** A new message, with its key. `after` is the newest message before it; `id`, once it is known, its own. One that has failed for good
 * gets its `failure`. */
export function newPending({ conversation, log, environment }, text) {
  return { conversation, text, key: newKey(), after: log.newest, since: environment.now() };
}

/** Stores `value` in the place of the message `pending`; null: nothing. Another message, of another tab, stays. */
export function updatePending(storage, pending, value) {
  if (pending && storage.read("pending")?.key === pending.key) storage.write("pending", value);
}

/** The stored message of the conversation that is shown, if it has no reply, and its item, if it is in the history. */
export function storedPending({ conversation, log, storage, environment }) {
  const pending = storage.read("pending");
  if (pending?.conversation !== conversation || environment.now() - pending.since > KEY_MS) return {};
  const since = log.items.slice(log.items.findIndex((item) => item.id === pending.after) + 1);
  const isIt = (item) => item.sender === "visitor" && (item.id === pending.id || textOfItem(item) === pending.text);
  const item = since.findLast(isIt);
  return item && log.isAnswered(item) ? {} : { pending, item };
}
