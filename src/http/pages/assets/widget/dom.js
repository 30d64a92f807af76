// Elements, their patching, and copying. Text becomes text nodes; no HTML is ever parsed.

/** Creates an element. `attributes`: `on…` are listeners; `false` and `null` are omitted. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  // A call takes only so many arguments.
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** An icon of 20 units, drawn by the path `line` with a round pen; `isSolid` fills it instead. */
export function icon(line, isSolid = false) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const round = { fill: "none", stroke: "currentColor", "stroke-width": "1.7", "stroke-linecap": "round", "stroke-linejoin": "round" };
  const pen = isSolid ? { fill: "currentColor" } : round;
  const frame = { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" };
  for (const [name, value] of Object.entries({ d: line, ...pen })) path.setAttribute(name, value);
  for (const [name, value] of Object.entries(frame)) svg.setAttribute(name, value);
  svg.append(path);
  return svg;
}

/** Gives `parent` the children of `fresh`, from the child `from` on. Nodes that stay the same stay in place, with the selection and the
 * focus in them; the listeners of an element that stays are its own. */
export function patchChildren(parent, fresh, from = 0) {
  const old = [...parent.childNodes].slice(from);
  const desired = [...fresh.childNodes];
  desired.forEach((node, index) => (old[index] ? patch(old[index], node) : parent.append(node)));
  old.slice(desired.length).forEach((node) => node.remove());
}

export function patch(old, fresh) {
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

/** A button that copies the result of `text(button)` and confirms it. `later` runs the end of the confirmation. */
export function copyButton(text, { copy = "Copy", copied = "Copied", notCopied = "Not copied" } = {}, later = setTimeout) {
  const button = el("button", { type: "button", class: "copy", onclick: confirm }, copy);
  async function confirm() {
    button.textContent = (await copyText(text(button), button)) ? copied : notCopied;
    later(() => (button.textContent = copy), 1600);
  }
  return button;
}

/** Copies `text`. Returns whether that worked. `origin`: the element that the visitor used. */
async function copyText(text, origin) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS, the clipboard API is only available on localhost.
    const field = el("textarea", { class: "visually-hidden", readonly: true });
    field.value = text;
    origin.after(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    origin.focus();
    return done;
  }
}
