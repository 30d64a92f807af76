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

/** Gives `parent` the children of `fresh`, from the child `from` on. Nodes that stay the same stay in place, with the visitor's selection and
 * focus; the listeners of an element that stays are its own. */
function patchChildren(parent, fresh, from = 0) {
  const old = [...parent.childNodes].slice(from);
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => (old[index] ? patch(old[index], node) : parent.append(node)));
  old.slice(wanted.length).forEach((node) => node.remove());
}

function patch(old, fresh) {
  if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patchChildren(old, fresh);
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
