// The header: who answers here, and the panel's actions.

import { el, icon } from "./dom.js";

const ICON_CLOSE = "M5 5l10 10M15 5 5 15";
const ICON_LIST = "M3.5 5.5h13M3.5 10h13M3.5 14.5h8";
const ICON_BACK = "M12.5 4 6.5 10l6 6";
const ICON_NEW = "M9 4H5.5A1.5 1.5 0 0 0 4 5.5v9A1.5 1.5 0 0 0 5.5 16h9a1.5 1.5 0 0 0 1.5-1.5V11M15 3.4 16.6 5l-6 6.2L8.2 12l.6-2.4z";

export class HeaderView {
  #frame;
  #title;
  #subtitle = el("p", { class: "subtitle", part: "subtitle" });
  #back;
  #list;
  #fresh;
  #close;

  /** `actions`: `back`, `list`, `fresh` and `close`, which is null where the chat cannot be closed. */
  constructor(frame, actions) {
    this.#frame = frame;
    this.#title = el(frame.isPage ? "h1" : "h2", { id: "title", class: "title", part: "title" });
    this.#back = iconButton("back", ICON_BACK, actions.back);
    this.#list = iconButton("conversations", ICON_LIST, actions.list);
    this.#fresh = iconButton("new", ICON_NEW, actions.fresh);
    this.#close = actions.close && iconButton("close", ICON_CLOSE, actions.close);
    const names = el("div", { class: "names" }, this.#title, this.#subtitle);
    const column = el("div", { class: "column" }, this.#back, names, this.#list, this.#fresh, this.#close);
    this.element = el("div", { class: "head", part: "header" }, column);
    this.update(false);
  }

  update(isList) {
    const { texts, options, chat } = this.#frame;
    const { settings, items, phase } = chat.state;
    const subtitle = isList ? "" : (options.subtitle ?? settings?.subtitle ?? "");
    this.#title.textContent = isList ? texts.conversations : this.#frame.title;
    this.#subtitle.textContent = subtitle;
    this.#subtitle.hidden = subtitle === "";
    this.#back.hidden = !isList;
    this.#list.hidden = isList || phase !== "ready";
    this.#fresh.hidden = isList || phase !== "ready" || !items.some((item) => item.sender === "visitor");
    nameButton(this.#back, texts.back);
    nameButton(this.#list, texts.conversations);
    nameButton(this.#fresh, texts.newConversation);
    if (this.#close) nameButton(this.#close, texts.close);
  }
}

function iconButton(action, line, onclick) {
  return el("button", { type: "button", class: "icon-button", "data-action": action, onclick }, icon(line));
}

function nameButton(button, name) {
  button.setAttribute("aria-label", name);
  button.title = name;
}
