// The messages of a conversation as the view shows them.

let made = 0;

/** An item of the log; see `state.js`. */
export function newItem(sender, fields = {}) {
  made += 1;
  const blank = { id: null, createdAt: null, parts: [], progress: "done", failure: null, feedback: null, note: null };
  return { key: `item-${made}`, sender, ...blank, ...fields };
}

export const textPart = (text) => ({ kind: "text", text });

export const callPart = (id, name, input, result) => ({ kind: "call", id, name, arguments: input, result, isRunning: result === null });

/** The message that an item stands for: its last text. */
export function textOfItem(item) {
  return item.parts.findLast((part) => part.kind === "text")?.text ?? "";
}

const SENDERS = { user: "visitor", assistant: "assistant", agent: "agent" };

/** The item of an entry of a history. */
function itemOf(entry) {
  const { id = null, role, content, sender_type: sender = role, created_at: createdAt = null } = entry;
  const calls = (entry.function_calls ?? []).map((call, index) => callPart(`${id}-${index}`, call.name, call.arguments, call.result));
  const parts = [...(entry.earlier_texts ?? []).map(textPart), ...calls, ...(content ? [textPart(content)] : [])];
  const feedback = entry.feedback?.rating ?? null;
  return newItem(SENDERS[sender], { id, createdAt, parts, feedback, progress: entry.stopped ? "stopped" : "done" });
}

/** Whether the server has no such message, or this page does not know which it is. */
const isLocal = (item) => item.id === null && item.sender !== "note";

/** Whether no history has the item. */
const isOpen = (item) => item.id === null || item.progress === "waiting" || item.progress === "streaming";

export class Log {
  items = [];
  /** The id of the newest message that was read from the server. */
  newest = null;

  /** Takes entries that were read from the server, oldest first. Returns the items that are new. */
  add(entries) {
    const fresh = [];
    for (const entry of entries) {
      if (!SENDERS[entry.sender_type ?? entry.role]) continue;
      this.newest = entry.id ?? this.newest;
      const item = itemOf(entry);
      const known = this.#find(item);
      if (known) this.#merge(known, item);
      else {
        this.items.push(item);
        fresh.push(item);
      }
    }
    return fresh;
  }

  /** The items that a history has from now on, unless they are deleted. */
  get settled() {
    return new Set(this.items.filter((item) => !isOpen(item)));
  }

  /** Takes a whole history. Notes stay, and messages that it may be too old for: those that were not `settled` when it was asked for.
   * Returns the items that are new. */
  replace(entries, settled = this.settled) {
    const old = new Log();
    old.items = this.items;
    this.items = [];
    const fresh = [];
    const added = this.add(entries).map((item) => {
      const known = old.#find(item);
      if (known) old.#merge(known, item);
      else fresh.push(item);
      return known ?? item;
    });
    this.items = added;
    for (const [at, item] of old.items.entries()) if (!settled.has(item) && !added.includes(item)) this.#insert(item, old.items[at - 1]);
    return fresh;
  }

  /** Puts `item` behind `previous`, or at the end. */
  #insert(item, previous) {
    const at = this.items.indexOf(previous) + 1;
    this.items.splice(at || this.items.length, 0, item);
  }

  push(item) {
    this.items.push(item);
    return item;
  }

  remove(item) {
    this.items = this.items.filter((other) => other !== item);
  }

  /** Gives `item` the id of its message; another item with this id is the same message, which came in another way. */
  identify(item, id) {
    if (!id || item.id === id) return;
    this.items = this.items.filter((other) => other === item || other.id !== id);
    item.id = id;
  }

  last(sender) {
    return this.items.findLast((item) => item.sender === sender);
  }

  /** Whether the assistant has answered after `item`. */
  isAnswered(item) {
    return this.items.slice(this.items.indexOf(item) + 1).some((other) => other.sender === "assistant" && other.progress !== "waiting");
  }

  #find(item) {
    const isSame = (other) => isLocal(other) && other.sender === item.sender && textOfItem(other) === textOfItem(item);
    return this.items.find((other) => other.id !== null && other.id === item.id) ?? this.items.find(isSame);
  }

  #merge(known, item) {
    known.id = item.id;
    known.createdAt = item.createdAt;
    known.feedback = item.feedback;
  }
}
