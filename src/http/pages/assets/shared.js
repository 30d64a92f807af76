"use strict";
// Shared by both pages: elements and copying. Text becomes text nodes; no HTML is ever parsed.

/** Creates an element. `attributes`: `on…` are listeners; `false` and `null` are omitted. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button that copies the result of `text()` and confirms it. */
function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", class: "copy", onclick: copy }, label);
  async function copy() {
    button.textContent = (await copyText(text())) ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = label), 1600);
  }
  return button;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS, the clipboard API is only available on localhost.
    const field = el("textarea", { class: "visually-hidden", readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
