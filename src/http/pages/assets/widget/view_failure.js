// Failures: what went wrong, in words that a visitor understands, and what to do about it.

import { el } from "./dom.js";
import { failureTexts, fillText } from "./text_format.js";

/** The failures after which only a new conversation helps. */
const NEEDS_NEW = ["ended", "full", "gone"];

/** A box with title and detail, and an action where one helps: `retry`, or a new conversation. */
export function failureBox(frame, failure, retry) {
  const { title, detail } = failureTexts(frame.texts, failure);
  const box = el("div", { class: "failure", part: "failure", "data-code": failure.code }, el("p", {}, el("strong", {}, title), " ", detail));
  const button = failureButton(frame, failure, retry);
  if (button) box.append(button);
  return box;
}

export function failureButton(frame, failure, retry) {
  if (NEEDS_NEW.includes(failure.code)) return newButton(frame);
  if (failure.retry === null) return null;
  const button = el("button", { type: "button", class: "outline", "data-action": "retry", onclick: retry });
  countDown(frame, button, Math.ceil(failure.after ?? 0));
  return button;
}

export function newButton({ texts, chat }) {
  return el("button", { type: "button", class: "outline", "data-action": "new", onclick: () => void chat.startNew() }, texts.newConversation);
}

function countDown(frame, button, seconds) {
  const { tryAgain, tryAgainIn } = frame.texts;
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? fillText(tryAgainIn, { seconds }) : tryAgain;
  if (seconds > 0) frame.later(() => countDown(frame, button, seconds - 1), 1000);
}
