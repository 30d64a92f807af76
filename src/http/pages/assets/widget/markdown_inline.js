// Renders what a line of Markdown may contain: emphasis, code, links. Images become links, so that a message loads nothing.

import { el } from "./dom.js";

/** Emphasis within emphasis; what is nested deeper stays plain. */
const MAX_SPAN_DEPTH = 16;

/** Marks in the order in which they are tried at a place. A text must not make them slow: none looks further than its own end. */
const SPAN = new RegExp(
  [
    /\\([!-/:-@[-`{-~])/, // 1: an escaped character
    /(`+|\*\*(?=\S)|(?<![\w_])__(?=\S)|~~(?=\S))/, // 2: the beginning of code, or of bold or struck text
    /!?\[([^[\]]*)\]\(\s*(?!\s)<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+"[^"\n]*")?\s*\)/, // 3, 4: a link or an image
    /<((?:https?:\/\/|mailto:)[^\s<>]+)>/, // 5: an address in brackets
    /(\bhttps?:\/\/[^\s<>"”]*[^\s<>"”.,;:!?'*_~`])/, // 6: a bare address
    /(?<![\w*])\*(?=[^\s*])((?:[^*]|\*\*[^*]+\*\*)+?)(?<=\S)\*(?![\w*])/, // 7: italic
    /(?<![\w_])_(?=[^\s_])([^_]+?)(?<=\S)_(?!\w)/, // 8: italic
    /(\n)/, // 9: a line's end
  ]
    .map((mark) => mark.source)
    .join("|"),
  "gs",
);

const TICKS = /`+/g;
/** The ends of what begins with a mark. */
const CLOSERS = { "**": /(?<=\S)\*\*(?!\*)/g, __: /(?<=\S)__(?!\w)/g, "~~": /(?<=\S)~~/g };

/** The nodes of a text within a block, whose end may still be missing. */
export function inlineNodes(line, isOpen = false, depth = 0) {
  if (depth > MAX_SPAN_DEPTH) return [line];
  const text = isOpen ? closeSpans(line) : line;
  const nodes = [];
  const spans = new RegExp(SPAN);
  /** The marks that end nowhere in the rest. */
  const endless = new Set();
  let from = 0;
  const write = (part) => {
    // Text that follows text is one node.
    if (part && typeof part === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += part;
    else if (part) nodes.push(part);
  };
  const inner = (label) => inlineNodes(label, false, depth + 1);
  /** The text between `mark` and its end, which is read; undefined if it has none. */
  const enclosed = (mark) => {
    if (endless.has(mark)) return undefined;
    const start = spans.lastIndex;
    const closer = CLOSERS[mark] ?? TICKS;
    closer.lastIndex = start + 1;
    let end = closer.exec(text);
    // As many as there were at the beginning.
    while (end && end[0] !== mark) end = closer.exec(text);
    if (!end) return void endless.add(mark);
    spans.lastIndex = closer.lastIndex;
    return text.slice(start, end.index);
  };
  for (let span; (span = spans.exec(text)); from = spans.lastIndex) {
    write(text.slice(from, span.index));
    write(spanNode(span, enclosed, inner));
  }
  write(text.slice(from));
  return nodes;
}

function spanNode([whole, escaped, mark, label, target, bracketed, bare, italic, slanted], enclosed, inner) {
  if (escaped) return escaped;
  if (mark) {
    const text = enclosed(mark);
    if (!text) return mark;
    if (mark[0] !== "`") return el(mark === "~~" ? "s" : "strong", {}, inner(text));
    return el("code", { dir: "ltr" }, /^ .* $/s.test(text) && text.trim() ? text.slice(1, -1) : text);
  }
  if (target !== undefined) return linkNode(target, label ? inner(label) : [target]);
  if (bracketed) return linkNode(bracketed, [bracketed.replace(/^mailto:/, "")]);
  if (bare) return bareLink(bare);
  if (italic ?? slanted) return el("em", {}, inner(italic ?? slanted));
  return whole === "\n" ? el("br") : whole;
}

/** A link, where its address may be opened from a message; else its label. */
function linkNode(target, label) {
  const isAllowed = /^(?:https?:\/\/|mailto:|tel:)/i.test(target);
  return el(isAllowed ? "a" : "span", isAllowed ? { href: target, rel: "noopener noreferrer nofollow", target: "_blank" } : {}, label);
}

/** A bracket that was opened before the address ends after it. */
function bareLink(address) {
  const isClosed = address.endsWith(")") && address.split("(").length >= address.split(")").length;
  if (!address.endsWith(")") || isClosed) return linkNode(address, [address]);
  const target = address.replace(/(?<!\))\)+$/, "");
  return el("span", {}, linkNode(target, [target]), address.slice(target.length));
}

/** Closes the code, link, bold or struck text that a line ends in, so that its marks do not show for a moment. */
function closeSpans(line) {
  const bare = line.replace(/(?<!`)`+$/, "");
  if (openTicks(line)) return bare + openTicks(bare);
  const link = line.slice(line.lastIndexOf("[")).match(/^\[([^[\]]*)(?:\](?:\([^\s)]*)?)?$/);
  const before = line.slice(0, line.lastIndexOf("[")).replace(/!$/, "");
  if (link && !/[\w\\]$/.test(before)) return before + link[1];
  return closeMark(closeMark(line, "**"), "~~");
}

/** The marks of code that has begun and not ended; "" if there are none. */
function openTicks(line) {
  return (line.match(TICKS) ?? []).reduce((open, ticks) => (open ? (open === ticks ? "" : open) : ticks), "");
}

function closeMark(line, mark) {
  const isBroken = (text) => text.split(mark).length % 2 === 0;
  let bare = line;
  while (bare.endsWith(mark[0])) bare = bare.slice(0, -1);
  if (!isBroken(line)) return line.endsWith(mark) ? line : bare;
  return isBroken(bare) ? bare.trimEnd() + mark : bare;
}
