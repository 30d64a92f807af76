// An entry of the log: a message with its texts and calls, its time, its rating, and what went wrong with it.

import { copyButton, el, icon, patch } from "./dom.js";
import { markdownWriter } from "./markdown.js";
import { failureBox } from "./view_failure.js";
import { waitingDots } from "./view_waiting.js";

const ICON_THUMB = "M6.5 9 9.6 3.2c1.2 0 2 .9 2 2.1V8h3.6a1.5 1.5 0 0 1 1.5 1.8l-1 5.2a1.5 1.5 0 0 1-1.5 1.2H6.5M6.5 9v7.2H3.6V9z";

export function createEntry(frame, item) {
  if (item.sender === "note") return new NoteEntry(frame, item);
  return item.sender === "visitor" ? new VisitorEntry(frame, item) : new ReplyEntry(frame, item);
}

class NoteEntry {
  #frame;

  constructor(frame, item) {
    this.#frame = frame;
    this.element = el("p", { class: "note", part: "note" });
    this.update(item);
  }

  update(item) {
    this.element.textContent = this.#frame.texts.notes[item.note] ?? "";
    this.element.dataset.note = item.note;
  }

  get shownText() {
    return this.element.textContent;
  }
}

class VisitorEntry {
  #frame;
  #bubble = el("div", { class: "bubble", dir: "auto", part: "bubble" });
  #aside = el("div", { class: "aside" });
  #failure = el("div");
  /** The failure whose box is shown. */
  #shown = null;

  constructor(frame, item) {
    this.#frame = frame;
    this.element = el("article", { class: "entry visitor", part: "entry visitor", "aria-label": frame.texts.you });
    this.element.append(el("div", { class: "said" }, this.#aside, this.#bubble), this.#failure);
    this.update(item);
  }

  update(item) {
    const { texts } = this.#frame;
    if (this.#bubble.textContent !== textOf(item)) this.#bubble.textContent = textOf(item);
    const isSending = item.progress === "sending";
    this.element.classList.toggle("sending", isSending);
    this.#aside.replaceChildren(isSending ? texts.sending : timeElement(texts, item.createdAt));
    if (item.failure === this.#shown) return;
    this.#shown = item.failure;
    this.#failure.replaceChildren(...(item.failure ? [failureBox(this.#frame, item.failure, () => this.#retry(item))] : []));
  }

  /** The button goes, so something else takes the focus. */
  #retry(item) {
    this.#frame.focus();
    this.#frame.chat.retry(item);
  }
}

const textOf = (item) => item.parts.map((part) => part.text ?? "").join("\n\n");

/** A message of the assistant or of a human. It grows part by part, in the order in which they come. */
class ReplyEntry {
  #frame;
  #item;
  /** The views of the blocks that are shown: one for each text, and one for calls that follow each other. */
  #blocks = [];
  #body = el("div", { class: "parts" });
  #foot = el("div", { class: "foot" });
  #rating = null;
  #shownEnd = null;
  #animation = 0;
  #slow = null;

  constructor(frame, item) {
    this.#frame = frame;
    const sender = frame.texts[item.sender];
    this.element = el("article", { class: `entry ${item.sender}`, part: `entry ${item.sender}`, "aria-label": sender });
    if (item.sender === "agent") this.element.append(el("p", { class: "name", "aria-hidden": "true" }, sender));
    this.element.append(this.#body, this.#foot);
    this.update(item);
  }

  /** The text that is shown, to be read aloud: a line for each block, without the buttons. */
  get shownText() {
    const copy = this.#body.cloneNode(true);
    copy.querySelectorAll(".copy, .calls, .steps").forEach((element) => element.remove());
    copy.querySelectorAll("p, li, pre, td, th, br, .prose > *").forEach((block) => block.append("\n"));
    return copy.textContent.replace(/\s*\n\s*/g, "\n").trim();
  }

  /** Shows the end of the last text, which has grown by `delta`. */
  append(item, delta) {
    const block = this.#blocks.at(-1);
    if (block?.kind !== "text" || block.text.length + delta.length !== item.parts.at(-1)?.text?.length) return this.update(item);
    block.text += delta;
    block.writer.append(delta);
    this.#animation ||= requestAnimationFrame(() => this.#attempt(() => this.#render(block, false)));
  }

  update(item) {
    this.#item = item;
    cancelAnimationFrame(this.#animation);
    this.#animation = 0;
    const isGoing = item.progress === "waiting" || item.progress === "streaming";
    // A turn that begins anew keeps its height, so that a reader who has scrolled up stays there.
    const height = isGoing && item.parts.length === 0 && this.#blocks.length > 0 ? `${this.element.offsetHeight}px` : "";
    if (height || !isGoing) this.element.style.setProperty("min-height", height);
    this.#attempt(() => this.#showBlocks(blocksOf(this.#frame, item.parts), isGoing));
    this.#showWaiting(isGoing && item.parts.at(-1)?.kind !== "text");
    this.#showFoot(isGoing);
  }

  destroy() {
    cancelAnimationFrame(this.#animation);
    this.#slow?.();
  }

  /** Shows something of the message. A failure must not keep the visitor from the rest of the chat: the message is plain text then. */
  #attempt(show) {
    try {
      show();
    } catch (error) {
      console.error("[rejoinder]", error);
      this.#blocks = [];
      this.#body.replaceChildren(el("div", { class: "prose" }, textOf(this.#item)));
    }
  }

  #showBlocks(desired, isGoing) {
    if (this.#blocks.length === 0) this.#body.replaceChildren();
    this.#blocks.splice(desired.length).forEach((block) => block.element.remove());
    desired.forEach((block, index) => {
      const isLast = index === desired.length - 1;
      const shown = this.#blocks[index];
      const isSame = shown?.kind === block.kind && (block.kind === "calls" || block.text.startsWith(shown.text));
      if (isSame) this.#growBlock(shown, block, isGoing && isLast);
      else this.#newBlock(index, block, isGoing && isLast);
    });
  }

  #newBlock(index, block, isOpen) {
    const view = { kind: block.kind, text: "", element: null, writer: null };
    if (block.kind === "text") {
      view.writer = markdownWriter(this.#frame.markdown);
      view.element = view.writer.prose;
    } else {
      view.element = this.#calls(block, new Set());
    }
    const old = this.#blocks[index];
    if (old) old.element.replaceWith(view.element);
    else this.#body.append(view.element);
    this.#blocks[index] = view;
    if (block.kind === "text") this.#growBlock(view, block, isOpen);
  }

  #growBlock(view, block, isOpen) {
    if (block.kind === "calls") {
      const opened = new Set([...view.element.querySelectorAll("details[open]")].map((details) => details.dataset.call));
      const fresh = this.#calls(block, opened);
      if (view.element.hidden) {
        view.element.replaceWith(fresh);
        view.element = fresh;
        return;
      }
      // The copy button belongs to the result, which is new.
      view.element.querySelectorAll(".copy").forEach((button) => button.remove());
      patch(view.element, fresh);
      return;
    }
    view.writer.append(block.text.slice(view.text.length));
    view.text = block.text;
    this.#render(view, !isOpen);
  }

  #calls(block, opened) {
    const { callsElement } = this.#frame.extras() ?? {};
    return callsElement?.(this.#frame, this.#frame.toolMode, block.calls, opened) ?? el("div", { hidden: true });
  }

  #render(view, isComplete) {
    this.#animation = 0;
    view.writer.render(isComplete);
  }

  /** Shows that more will come; after 8 s in words. */
  #showWaiting(isWaiting) {
    const shown = this.element.querySelector(".waiting");
    if (Boolean(shown) === isWaiting) return;
    this.#slow?.();
    this.#slow = null;
    if (!isWaiting) return shown.remove();
    const waiting = waitingDots();
    this.#body.after(waiting);
    this.#slow = this.#frame.later(() => waiting.append(el("span", { class: "slow" }, this.#frame.texts.slow)), 8000);
  }

  #showFoot(isGoing) {
    const { progress, id, createdAt, feedback } = this.#item;
    const end = JSON.stringify([isGoing, progress, id, createdAt, feedback, this.#isRated]);
    if (end === this.#shownEnd) return;
    this.#shownEnd = end;
    const { texts } = this.#frame;
    const stopped = this.#blocks.length > 0 ? texts.stopped : texts.stoppedEmpty;
    const isReadable = (progress === "done" || progress === "stopped") && (id || createdAt);
    const meta = isReadable ? [this.#meta()] : [];
    if (!isReadable) this.#rating = null;
    const said = progress === "stopped" ? [el("p", { class: "stopped" }, stopped)] : [];
    const desired = [...said, ...meta];
    const isShown = desired.length === this.#foot.childNodes.length && desired.every((node, index) => node === this.#foot.childNodes[index]);
    if (!isShown) this.#foot.replaceChildren(...desired);
  }

  /** Whether the visitor can rate the message. A greeting has nothing to rate before they have written. */
  get #isRated() {
    return this.#item.id !== null && this.#frame.chat.state.items.some((item) => item.sender === "visitor");
  }

  /** The line of time and rating, which keeps the focus when it changes. */
  #meta() {
    const { texts, chat } = this.#frame;
    const { createdAt, feedback } = this.#item;
    this.#rating ??= el("div", { class: "meta", part: "meta" });
    const rate = (value, name) =>
      el(
        "button",
        {
          type: "button",
          class: `rate ${value}`,
          "aria-label": name,
          title: name,
          "aria-pressed": String(feedback === value),
          "data-rating": value,
          onclick: () => void chat.rate(this.#item, this.#item.feedback === value ? null : value),
        },
        icon(ICON_THUMB),
      );
    const fresh = el("div", { class: "meta", part: "meta" });
    if (createdAt) fresh.append(timeElement(texts, createdAt));
    if (this.#isRated) fresh.append(rate("up", texts.helpful), rate("down", texts.notHelpful));
    if (this.#rating.childNodes.length === fresh.childNodes.length) patch(this.#rating, fresh);
    else this.#rating.replaceChildren(...fresh.childNodes);
    return this.#rating;
  }
}

/** Texts, and calls that follow each other. */
function blocksOf(frame, parts) {
  const blocks = [];
  for (const part of parts) {
    if (part.kind === "text") blocks.push({ kind: "text", text: part.text });
    else if (frame.toolMode !== "hidden") {
      if (blocks.at(-1)?.kind === "calls") blocks.at(-1).calls.push(part);
      else blocks.push({ kind: "calls", calls: [part] });
    }
  }
  return blocks;
}

function timeElement(texts, createdAt) {
  if (!createdAt) return "";
  const date = new Date(createdAt);
  const clock = new Intl.DateTimeFormat(texts.locale, { hour: "numeric", minute: "2-digit" });
  const full = new Intl.DateTimeFormat(texts.locale, { dateStyle: "full", timeStyle: "short" });
  return el("time", { datetime: date.toISOString(), title: full.format(date) }, clock.format(date));
}

/** The options of the Markdown in messages. */
export function messageMarkdown(texts, heading, later) {
  const copied = (button) => button.closest(".code").querySelector("code").textContent;
  return { heading, codeLabel: texts.code, tableLabel: texts.table, codeActions: () => copyButton(copied, texts, later) };
}
