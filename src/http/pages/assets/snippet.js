// The code that puts a chat on a page, as text to copy.
import { copyButton, el } from "./widget/dom.js";

/** The address of this server, without a slash at its end. */
export const SERVER = new URL("./", location.href).href.replace(/\/$/, "");

/** Options that only a call can give, because they are no texts. */
const BY_CALL = ["texts", "quickReplies"];

/** Shows in `place` the code for a chat with these options. */
export function showSnippet(place, options) {
  const text = snippetText(options);
  place.replaceChildren(el("div", { class: "code-box" }, el("pre", { tabindex: "0" }, el("code", {}, text)), copyButton(() => text)));
}

function snippetText(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const attributes = given.filter(([name]) => !BY_CALL.includes(name)).map(attributeText);
  const tag = `<script async src="${SERVER}/widget.js"${attributes.join("")}><\/script>`;
  const called = given.filter(([name]) => BY_CALL.includes(name));
  if (called.length === 0) return tag;
  // A text cannot end the script.
  const json = JSON.stringify(Object.fromEntries(called)).replaceAll("<", "\\u003c");
  return `${tag}\n<script>(window.RejoinderQueue ||= []).push(["set", ${json}])<\/script>`;
}

function attributeText([name, value]) {
  const attribute = `data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  if (value === true) return ` ${attribute}`;
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return ` ${attribute}="${text.replaceAll("&", "&amp;").replaceAll('"', "&quot;")}"`;
}
