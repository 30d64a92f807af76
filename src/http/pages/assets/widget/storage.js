// The values that survive a reload and are shared between tabs, for each server, assistant and identified visitor:
// `conversation` (its UUID), `pending` (the message without a reply), `draft`, `form`, `seen`, `list`, and `open`.
import { hashOf } from "./identity.js";

export class Storage {
  /** `subject`: the identified visitor's, or "". `store` is the browser's `localStorage`, or null where it is not available. */
  constructor(store, server, assistant, subject) {
    this.store = store;
    // `loader.js` reads and removes these names, too.
    this.prefix = `rejoinder:${server}:${assistant}:${subject && hashOf(subject)}:`;
    this.memory = new Map();
  }

  read(name) {
    const key = this.prefix + name;
    try {
      return JSON.parse(this.memory.get(key) ?? this.store?.getItem(key) ?? "null");
    } catch (error) {
      console.warn("[rejoinder]", error);
      return null;
    }
  }

  write(name, value) {
    const key = this.prefix + name;
    const text = JSON.stringify(value);
    this.memory.delete(key);
    try {
      if (value === null) this.store?.removeItem(key);
      else this.store.setItem(key, text);
    } catch {
      // The browser stores nothing, or no more. The value then lasts as long as the page.
      if (value !== null) this.memory.set(key, text);
    }
  }

  /** The name that the key of a `storage` event has here, or null. */
  nameOf(key) {
    return key?.startsWith(this.prefix) ? key.slice(this.prefix.length) : null;
  }
}
