// The composer: the message field, which grows, and one button, which sends or stops.

import { el, icon } from "./dom.js";
import { fillText } from "./text_format.js";

const ICON_SEND = "M10 16V4M4.8 9.2 10 4l5.2 5.2";
const ICON_STOP = "M6.5 5h7A1.5 1.5 0 0 1 15 6.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 5 13.5v-7A1.5 1.5 0 0 1 6.5 5z";
/** The most characters of a message. */
const MESSAGE_LIMIT = 2000;

export class ComposerView {
  #frame;
  #draft = "";
  #label = el("label", { class: "visually-hidden", for: "message" });
  #field = el("textarea", { id: "message", rows: 1, part: "input", autocomplete: "off", enterkeyhint: "send" });
  #send = el("button", { type: "submit", class: "send", part: "send" });
  #counter = el("p", { id: "counter", class: "counter", hidden: true });
  #form = el("form", { class: "column", novalidate: true });
  #endText = el("p");
  #endButton = el("button", { type: "button", class: "outline", "data-action": "new" });
  #end = el("div", { class: "column ending" }, this.#endText, this.#endButton);
  #strip = el("p", { class: "strip", part: "strip", hidden: true });

  constructor(frame) {
    this.#frame = frame;
    this.#field.setAttribute("aria-describedby", "counter");
    this.#form.append(el("div", { class: "field", part: "field" }, this.#label, this.#field, this.#send), this.#counter);
    this.#field.addEventListener("input", () => this.#onInput());
    this.#field.addEventListener("keydown", (event) => this.#onKey(event));
    this.#endButton.addEventListener("click", () => void frame.chat.switchTo(""));
    // A frame with `sandbox` may forbid to submit forms.
    this.#send.addEventListener("click", (event) => this.#onSend(event));
    this.element = el("div", { class: "dock", part: "composer" }, this.#strip, this.#form, this.#end);
    this.relabel();
  }

  relabel() {
    const { texts } = this.#frame;
    this.#label.textContent = texts.message;
    this.#field.placeholder = texts.placeholder;
    this.#endText.textContent = texts.conversationEnded;
    this.#endButton.textContent = texts.newConversation;
    this.#send.dataset.state = "";
    this.update();
  }

  /** Focuses the field, or the button where the conversation has ended. */
  focus() {
    (this.#form.hidden ? this.#endButton : this.#field).focus({ preventScroll: true });
  }

  update() {
    const { chat, texts } = this.#frame;
    const { phase, status, connection, running } = chat.state;
    this.element.hidden = phase !== "ready";
    const wasEnded = this.#form.hidden;
    this.#form.hidden = status.ended;
    this.#end.hidden = !status.ended;
    if (!wasEnded && status.ended && this.#form.contains(this.#form.getRootNode().activeElement)) this.#endButton.focus();
    const strip = connection === "reconnecting" ? texts.reconnecting : status.aiEnabled === false && !status.ended ? texts.humanAnswers : "";
    this.#strip.hidden = strip === "";
    this.#strip.textContent = strip;
    this.#strip.classList.toggle("lost", connection === "reconnecting");
    this.#readDraft();
    this.#showButton(running);
  }

  /** Gives the field as many lines as its text has. */
  fit() {
    if (!this.#field.isConnected) return;
    this.#field.style.setProperty("height", "auto");
    if (this.#field.scrollHeight > 0) this.#field.style.setProperty("height", `${this.#field.scrollHeight}px`);
  }

  /** Takes over a draft that the chat has changed. */
  #readDraft() {
    const draft = this.#frame.chat.draft ?? "";
    // A text that is being written may be continued, but not replaced.
    if (draft === this.#draft || (this.#field.matches(":focus") && !draft.startsWith(this.#field.value))) return;
    this.#draft = draft;
    this.#field.value = draft;
    this.fit();
  }

  #showButton(running) {
    const { texts } = this.#frame;
    const length = lengthOf(this.#field.value);
    const left = MESSAGE_LIMIT - length;
    this.#counter.hidden = left > MESSAGE_LIMIT / 10;
    this.#counter.textContent = fillText(left < 0 ? texts.charactersOver : texts.charactersLeft, { count: Math.abs(left) });
    this.#counter.classList.toggle("over", left < 0);
    this.#field.setAttribute("aria-invalid", String(left < 0));
    const state = running ? "stop" : "send";
    if (this.#send.dataset.state !== state) {
      this.#send.dataset.state = state;
      this.#send.setAttribute("aria-label", texts[state]);
      this.#send.title = texts[state];
      this.#send.replaceChildren(icon(running ? ICON_STOP : ICON_SEND, Boolean(running)));
    }
    const isIdle = running ? running.isStopping : length === 0 || left < 0;
    // A button that is disabled would lose the focus.
    this.#send.setAttribute("aria-disabled", String(isIdle));
  }

  #onInput() {
    this.#draft = this.#field.value;
    this.#frame.chat.setDraft(this.#draft);
    this.fit();
    this.#showButton(this.#frame.chat.state.running);
  }

  #onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submitText();
  }

  #onSend(event) {
    event.preventDefault();
    // The second click of a double click would stop what the first has sent.
    if (event.detail > 1) return;
    const { chat } = this.#frame;
    const { running } = chat.state;
    if (!running) this.#submitText();
    else if (!running.isStopping) void chat.stop();
  }

  #submitText() {
    const text = this.#field.value.trim();
    if (this.#frame.chat.state.running || text === "" || lengthOf(text) > MESSAGE_LIMIT) return;
    this.#field.value = "";
    this.#onInput();
    this.#frame.send(text);
  }
}

function lengthOf(text) {
  return [...text.trim()].length;
}
