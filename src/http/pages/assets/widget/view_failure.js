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
  countDown(frame, button, failure.until);
  return button;
}

export function newButton({ texts, chat }) {
  return el("button", { type: "button", class: "outline", "data-action": "new", onclick: () => void chat.switchTo("") }, texts.newConversation);
}

function countDown(frame, button, until) {
  const { tryAgain, tryAgainIn } = frame.texts;
  const seconds = Math.ceil((until - Date.now()) / 1000);
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? fillText(tryAgainIn, { seconds }) : tryAgain;
  if (seconds > 0) frame.later(() => button.isConnected && countDown(frame, button, until), 1000);
}
