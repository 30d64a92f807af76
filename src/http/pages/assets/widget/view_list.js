// The list of conversations: those of this browser, or those of an identified visitor.

import { el, icon } from "./dom.js";
import { failureBox } from "./view_failure.js";
import { waitingDots } from "./view_waiting.js";

const ICON_ADD = "M10 4v12M4 10h12";

export class ListView {
  #frame;
  #rows = el("div", { class: "rows" });
  #shown = null;

  /** `onChosen`: the visitor has chosen a conversation. */
  constructor(frame, onChosen) {
    this.#frame = frame;
    this.onChosen = onChosen;
    const start = () => {
      onChosen();
      void frame.chat.switchTo("");
    };
    const attributes = { type: "button", class: "row new", "data-action": "new", onclick: start };
    const column = el("div", { class: "column list" }, el("button", attributes, icon(ICON_ADD), frame.texts.newConversation), this.#rows);
    this.element = el("div", { class: "screen scroll", part: "conversations" }, column);
    this.update();
  }

  focus() {
    (this.#rows.querySelector("button") ?? this.element.querySelector("button")).focus({ preventScroll: true });
  }

  update() {
    const { conversations, listFailure } = this.#frame.chat.state;
    const shown = JSON.stringify([conversations, listFailure]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const hadFocus = this.#rows.matches(":focus-within");
    this.#rows.replaceChildren(this.#content());
    if (hadFocus) this.focus();
  }

  #content() {
    const { chat, texts } = this.#frame;
    const { conversations, listFailure } = chat.state;
    if (listFailure) return failureBox(this.#frame, listFailure, () => void chat.list());
    if (conversations === null) return waitingDots();
    if (conversations.length === 0) return el("p", { class: "empty" }, texts.noConversations);
    return el("ul", {}, conversations.map((conversation) => el("li", {}, this.#row(conversation))));
  }

  #row({ id, createdAt, updatedAt, preview, ended, isCurrent }) {
    const { chat, texts } = this.#frame;
    const choose = () => {
      this.onChosen();
      if (!isCurrent) void chat.switchTo(id);
    };
    const state = isCurrent ? texts.current : ended ? texts.ended : null;
    return el(
      "button",
      { type: "button", class: "row", "aria-current": isCurrent ? "true" : null, "data-conversation": id, onclick: choose },
      el("span", { class: "preview", dir: "auto" }, preview || texts.conversation),
      el("span", { class: "when" }, dateOf(texts, updatedAt ?? createdAt), state ? el("span", { class: "tag" }, state) : null),
    );
  }
}

/** A time of today, or a day. */
function dateOf(texts, value) {
  if (!value) return null;
  const date = new Date(value);
  const isToday = date.toDateString() === new Date().toDateString();
  const style = isToday ? { hour: "numeric", minute: "2-digit" } : { day: "numeric", month: "short", year: "numeric" };
  return el("time", { datetime: date.toISOString() }, new Intl.DateTimeFormat(texts.locale, style).format(date));
}
