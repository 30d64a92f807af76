// Renders what a line of Markdown may contain: emphasis, code, links. Images become links, so that a message loads nothing.

import { el } from "./dom.js";

/** Marks in the order in which they are tried at a place. */
const SPAN = new RegExp(
  [
    /\\([!-/:-@[-`{-~])/, // 1: an escaped character
    /(`+)(?!`)(.+?)(?<!`)\2(?!`)/, // 2, 3: code
    /!?\[([^[\]]*)\]\(\s*<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+"[^"\n]*")?\s*\)/, // 4, 5: a link or an image
    /<((?:https?:\/\/|mailto:)[^\s<>]+)>/, // 6: an address in brackets
    /(\bhttps?:\/\/[^\s<>"”]*[^\s<>"”.,;:!?'*_~`])/, // 7: a bare address
    /\*\*(?=\S)(.+?)(?<=\S)\*\*(?!\*)/, // 8: bold
    /(?<![\w_])__(?=\S)(.+?)(?<=\S)__(?!\w)/, // 9: bold
    /~~(?=\S)(.+?)(?<=\S)~~/, // 10: struck
    /(?<![\w*])\*(?=[^\s*])((?:[^*]|\*\*[^*]+\*\*)+?)(?<=\S)\*(?![\w*])/, // 11: italic
    /(?<![\w_])_(?=[^\s_])([^_]+?)(?<=\S)_(?!\w)/, // 12: italic
    /(\n)/, // 13: a line's end
  ]
    .map((mark) => mark.source)
    .join("|"),
  "gs",
);

/** The nodes of a text within a block, whose end may still be missing. */
export function inlineNodes(line, isOpen = false) {
  const text = isOpen ? closeSpans(line) : line;
  const nodes = [];
  let from = 0;
  const write = (part) => {
    // Text that follows text is one node.
    if (part && typeof part === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += part;
    else if (part) nodes.push(part);
  };
  for (const span of text.matchAll(SPAN)) {
    write(text.slice(from, span.index));
    write(spanNode(span));
    from = span.index + span[0].length;
  }
  write(text.slice(from));
  return nodes;
}

function spanNode([whole, escaped, , code, label, target, bracketed, bare, bold, bolder, struck, italic, slanted]) {
  if (escaped) return escaped;
  if (code !== undefined) return el("code", { dir: "ltr" }, code.replace(/^ (.*\S.*) $/s, "$1"));
  if (target !== undefined) return linkNode(target, label ? inlineNodes(label) : [target]);
  if (bracketed) return linkNode(bracketed, [bracketed.replace(/^mailto:/, "")]);
  if (bare) return bareLink(bare);
  if (bold ?? bolder) return el("strong", {}, ...inlineNodes(bold ?? bolder));
  if (struck) return el("s", {}, ...inlineNodes(struck));
  if (italic ?? slanted) return el("em", {}, ...inlineNodes(italic ?? slanted));
  return whole === "\n" ? el("br") : whole;
}

/** A link, where its address may be opened from a message; else its label. */
function linkNode(target, label) {
  const isAllowed = /^(?:https?:\/\/|mailto:|tel:)/i.test(target);
  return el(isAllowed ? "a" : "span", isAllowed ? { href: target, rel: "noopener noreferrer nofollow", target: "_blank" } : {}, ...label);
}

/** A bracket that was opened before the address ends after it. */
function bareLink(address) {
  const isClosed = address.endsWith(")") && address.split("(").length >= address.split(")").length;
  if (!address.endsWith(")") || isClosed) return linkNode(address, [address]);
  const target = address.replace(/\)+$/, "");
  return el("span", {}, linkNode(target, [target]), address.slice(target.length));
}

/** Closes the code, link, bold or struck text that a line ends in, so that its marks do not show for a moment. */
function closeSpans(line) {
  if (line.split("`").length % 2 === 0) return line.endsWith("`") ? line.slice(0, -1) : `${line}\``;
  const link = line.match(/(?<![\w\\])!?\[([^[\]]*)(?:\](?:\([^\s)]*)?)?$/);
  if (link) return line.slice(0, link.index) + link[1];
  return closeMark(closeMark(line, "**"), "~~");
}

function closeMark(line, mark) {
  const isBroken = (text) => text.split(mark).length % 2 === 0;
  let bare = line;
  while (bare.endsWith(mark[0])) bare = bare.slice(0, -1);
  if (!isBroken(line)) return line.endsWith(mark) ? line : bare;
  return isBroken(bare) ? bare.trimEnd() + mark : bare;
}
