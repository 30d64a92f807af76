// The log: the entries by day, suggestions, the typing of a human, and the scrolling.

import { el, icon } from "./dom.js";
import { createEntry } from "./view_entry.js";
import { waitingDots } from "./view_waiting.js";

const ICON_DOWN = "M10 4v12M4.8 10.8 10 16l5.2-5.2";
/** The distance from the end, in pixels, within which a reader is at the end. */
const NEAR_END = 24;
/** The room above an entry that is read from its beginning, in pixels. */
const ABOVE = 12;

export class LogView {
  #frame;
  #entries = new Map();
  #log = el("div", { class: "log", part: "log", role: "log", "aria-live": "off", "aria-busy": "false" });
  #chips = el("div", { class: "chips", role: "group", part: "quick-replies" });
  #typing = el("div", { class: "human-typing", hidden: true }, waitingDots(), el("span"));
  #toEnd = el("button", { type: "button", class: "to-end", part: "newest", hidden: true, onclick: () => this.#goToEnd() });
  #scroller = el("div", { class: "scroll", tabindex: 0, part: "scroll" });
  /** Whether the view stays at its end while a reply grows. */
  #isFollowing = true;
  /** The newest entry that became longer than the view. */
  #longEntry = null;
  #scrolled = 0;
  #height = 0;
  #observer = new ResizeObserver(() => this.#onResize());

  constructor(frame) {
    this.#frame = frame;
    const column = el("div", { class: "column" }, this.#log, this.#typing, this.#chips);
    this.#scroller.append(column);
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.element = el("div", { class: "screen chat" }, this.#scroller, this.#toEnd);
    this.#observer.observe(column);
    this.#observer.observe(this.#scroller);
    this.relabel();
  }

  destroy() {
    this.#observer.disconnect();
    for (const { entry } of this.#entries.values()) entry.destroy?.();
  }

  /** Shows everything anew in other texts. */
  relabel() {
    const { texts } = this.#frame;
    this.#log.setAttribute("aria-label", texts.log);
    this.#scroller.setAttribute("aria-label", texts.log);
    this.#scroller.setAttribute("role", "group");
    this.#chips.setAttribute("aria-label", texts.quickReplies);
    this.#typing.lastChild.textContent = texts.typing;
    this.#toEnd.replaceChildren(icon(ICON_DOWN), texts.newest);
    for (const { entry } of this.#entries.values()) entry.destroy?.();
    this.#entries.clear();
    this.updateItems();
    this.updateState();
  }

  /** The entry's shown text; "" where there is none. */
  textOf(item) {
    return this.#entries.get(item.key)?.entry.shownText ?? "";
  }

  updateState() {
    const { chat, quickReplies } = this.#frame;
    const { items, running, status, phase } = chat.state;
    const isGoing = running !== null || items.some((item) => item.progress === "streaming");
    this.#log.setAttribute("aria-busy", String(isGoing));
    this.#typing.hidden = !status.isTyping;
    const isUntouched = phase === "ready" && !status.ended && !items.some((item) => item.sender === "visitor");
    const desired = isUntouched ? quickReplies : [];
    if (JSON.stringify(desired) !== this.#chips.dataset.shown) {
      this.#chips.dataset.shown = JSON.stringify(desired);
      const send = (text) => () => this.#frame.send(text);
      const chip = (text) => el("button", { type: "button", class: "chip", dir: "auto", onclick: send(text) }, text);
      this.#chips.replaceChildren(...desired.map(chip));
    }
    if (status.isTyping) this.#follow();
  }

  updateItems() {
    const { items } = this.#frame.chat.state;
    const isFirst = this.#entries.size === 0;
    const keys = new Set(items.map((item) => item.key));
    for (const [key, { entry }] of this.#entries) {
      if (keys.has(key)) continue;
      entry.destroy?.();
      entry.element.remove();
      this.#entries.delete(key);
    }
    this.#log.classList.toggle("still", isFirst);
    this.#place(items);
    this.updateState();
    if (isFirst) {
      this.#longEntry = this.#lastEntry();
      this.scrollToEnd();
    } else this.#follow();
  }

  updateItem(item) {
    const known = this.#entries.get(item.key);
    if (!known) return this.updateItems();
    known.entry.update(item);
    this.updateState();
    this.#follow();
  }

  append(item, delta) {
    this.#entries.get(item.key)?.entry.append(item, delta);
  }

  /** The button goes, so the log takes its focus. */
  #goToEnd() {
    this.#scroller.focus({ preventScroll: true });
    this.scrollToEnd();
  }

  scrollToEnd() {
    this.#setFollowing(true);
    this.#jumpToEnd();
  }

  /** Puts the entries and the days between them in order. What stays in place is not moved. */
  #place(items) {
    const desired = [];
    let day = dayOf(new Date().toISOString());
    for (const item of items) {
      const itemDay = dayOf(item.createdAt) ?? day;
      if (itemDay !== day) desired.push(this.#dayMark(itemDay, item.createdAt));
      day = itemDay;
      const known = this.#entries.get(item.key);
      if (known) known.entry.update(item);
      else this.#entries.set(item.key, { entry: createEntry(this.#frame, item) });
      desired.push(this.#entries.get(item.key).entry.element);
    }
    const staying = new Set(desired);
    for (const node of [...this.#log.childNodes]) if (!staying.has(node)) node.remove();
    desired.forEach((node, index) => {
      if (this.#log.childNodes[index] !== node) this.#log.insertBefore(node, this.#log.childNodes[index] ?? null);
    });
  }

  #dayMark(day, createdAt) {
    const mark = this.#log.querySelector(`[data-day="${day}"]`) ?? el("p", { class: "day-mark", "data-day": day });
    mark.textContent = dayName(this.#frame.texts, createdAt);
    return mark;
  }

  #lastEntry() {
    const last = this.#frame.chat.state.items.at(-1);
    return last ? this.#entries.get(last.key).entry.element : null;
  }

  #jumpToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    // A log that has become shorter was not scrolled by its reader.
    this.#scrolled = this.#scroller.scrollTop;
  }

  /** Keeps a reader who is at the end there. Once the newest entry is longer than the view, it is read from its beginning, unless the reader
   * goes to the end again. */
  #follow() {
    const entry = this.#lastEntry();
    if (!this.#isFollowing || !entry) return;
    const isLong = entry.offsetHeight > this.#scroller.clientHeight - ABOVE;
    if (!isLong || entry === this.#longEntry || entry.classList.contains("visitor")) return this.#jumpToEnd();
    this.#longEntry = entry;
    this.#scroller.scrollTop += entry.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top - ABOVE;
    this.#setFollowing(false);
  }

  #setFollowing(value) {
    this.#isFollowing = value;
    this.#toEnd.hidden = value;
  }

  /** A reader who scrolls up stays there; one who is at the end follows it. A log that grows scrolls nobody. */
  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isUp = scrollTop < this.#scrolled;
    this.#scrolled = scrollTop;
    const isAtEnd = scrollHeight - clientHeight - scrollTop < NEAR_END;
    if (isAtEnd || isUp) this.#setFollowing(isAtEnd);
  }

  #onResize() {
    const height = this.#scroller.clientHeight;
    const isOtherSize = height !== this.#height;
    this.#height = height;
    if (isOtherSize && this.#isFollowing) this.#jumpToEnd();
    else if (this.#frame.chat.state.running) this.#follow();
  }
}

/** The local day of a time; null where there is none. */
function dayOf(createdAt) {
  if (!createdAt) return null;
  const date = new Date(createdAt);
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()].join("-");
}

function dayName(texts, createdAt) {
  const day = dayOf(createdAt);
  const now = new Date();
  if (day === dayOf(now)) return texts.today;
  if (day === dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1))) return texts.yesterday;
  return new Intl.DateTimeFormat(texts.locale, { dateStyle: "full" }).format(new Date(createdAt));
}
