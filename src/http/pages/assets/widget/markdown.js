// Renders Markdown as nodes: the blocks. See `markdown_inline.js` for what a line may contain. HTML stays plain text.

import { el, patchChildren } from "./dom.js";
import { inlineNodes } from "./markdown_inline.js";

/** `text` as nodes in a `div.prose`. */
export function markdown(text, options) {
  const writer = markdownWriter(options);
  writer.append(text);
  writer.render(true);
  return writer.prose;
}

/** Renders a text that grows: `append` takes more of it, `render` shows it. Only the end of the text, from its last block that may still
 * change, is rendered again, and in place.
 *
 * `heading`: the element of a heading, whatever its level. `codeActions()`: nodes beside a code block that is complete. `codeLabel`,
 * `tableLabel`: names of what scrolls sideways. */
export function markdownWriter({ heading = "h4", codeActions = () => null, codeLabel = "Code", tableLabel = "Table" } = {}) {
  const prose = el("div", { class: "prose", dir: "auto" });
  const context = { heading, codeActions, codeLabel, tableLabel, depth: 0 };
  const lines = [""];
  // The blocks before this line have their final form; they are the first `finalBlocks` children of `prose`.
  let from = 0;
  let finalBlocks = 0;

  function append(text) {
    const added = text.split("\n");
    lines[lines.length - 1] += added[0];
    for (let index = 1; index < added.length; index += 1) {
      lines[lines.length - 1] = lines.at(-1).replace(/\r$/, "");
      lines.push(added[index]);
    }
  }

  function render(isComplete) {
    const last = lines.length - 1;
    const fresh = el("div");
    const finalCount = finalBlocks;
    let lastFinal = null;
    for (let at = from; at <= last; ) {
      at = markdownBlock({ lines, open: isComplete ? -1 : last, ...context }, at, fresh);
      // The line after a block ends it, so that line must be complete.
      if (at < last) {
        from = at;
        lastFinal = fresh.lastChild;
      }
    }
    finalBlocks += [...fresh.childNodes].indexOf(lastFinal) + 1;
    patchChildren(prose, fresh, finalCount);
  }

  return { prose, append, render };
}

/** Quotes and lists within each other; what is nested deeper is a paragraph. */
const MAX_BLOCK_DEPTH = 32;
// A text must not make these slow: no two neighbours in a pattern match the same character.
const FENCE = /^ {0,3}(`{3,}(?!`)|~{3,}(?!~))(?=[^`]*$)\s*(\S*)/;
const HEADING = /^ {0,3}#{1,6}\s+(.*)$/s;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?(.*)$/s;
const ITEM = /^(\s*)([-*+•]|\d{1,9}[.)])(\s+|$)(.*)$/s;
const TABLE_MARKS = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*(?:\|\s*)?$/;
/** The beginning of a block whose kind is not known yet. */
const PARTIAL = /^\s*(?:[-*+_]{1,2}|#{1,6}|>|`{1,2}|~{1,2}|\d{1,2}[.)]?)$/;

const isBlank = (line) => line.trim() === "";

/** Whether the line begins a block that ends a paragraph. */
function interrupts(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

/** Appends the block that starts at line `at`, and returns the index of the line after it. The line `source.open` is not complete yet; -1
 * if all are. */
function markdownBlock(source, at, parent) {
  const { lines, open } = source;
  const line = lines[at];
  if (isBlank(line) || (at === open && PARTIAL.test(line))) return at + 1;
  if (source.depth > MAX_BLOCK_DEPTH) return paragraphBlock(source, at, parent);
  if (FENCE.test(line)) return codeBlock(source, at, parent);
  const heading = line.match(HEADING);
  if (heading) {
    const text = heading[1].trimEnd().replace(/(?<!\s)\s+#+$/, "");
    parent.append(el(source.heading, {}, inlineNodes(text, at === open)));
    return at + 1;
  }
  if (RULE.test(line)) {
    // A line that is not complete may become a list.
    if (at !== open) parent.append(el("hr"));
    return at + 1;
  }
  if (QUOTE.test(line)) return quoteBlock(source, at, parent);
  if (ITEM.test(line)) return listBlock(source, at, parent);
  return isTable(source, at) ? tableBlock(source, at, parent) : paragraphBlock(source, at, parent);
}

/** Renders lines that a block contains. `open`: the index among them of the line that is not complete. */
function nestedBlocks(source, lines, open, parent) {
  const nested = { ...source, lines, open, depth: source.depth + 1 };
  for (let at = 0; at < lines.length; ) at = markdownBlock(nested, at, parent);
}

function codeBlock({ lines, open, codeActions, codeLabel }, at, parent) {
  const [, marks, language] = lines[at].match(FENCE);
  const isEnd = (line) => line.trim().startsWith(marks) && line.trim().replaceAll(marks[0], "") === "";
  let end = at + 1;
  while (end < lines.length && !isEnd(lines[end])) end += 1;
  const code = lines.slice(at + 1, end);
  const isWhole = end < lines.length;
  // The end mark that is being written is no code.
  if (end - 1 === open && end - 1 > at && PARTIAL.test(code.at(-1)) && code.at(-1).trim()[0] === marks[0]) code.pop();
  const block = el("pre", { tabindex: 0, role: "group", "aria-label": codeLabel }, el("code", { dir: "ltr" }, code.join("\n")));
  parent.append(el("div", { class: "code", "data-language": language || null }, block, isWhole || open < 0 ? codeActions() : null));
  return end + 1;
}

function quoteBlock(source, at, parent) {
  const { lines, open } = source;
  const inner = [];
  let end = at;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const quoted = lines[end].match(QUOTE);
    if (!quoted && interrupts(lines[end])) break;
    inner.push(quoted ? quoted[1] : lines[end]);
  }
  const quote = el("blockquote");
  nestedBlocks(source, inner, open >= 0 && open < end ? open - at : -1, quote);
  parent.append(quote);
  return end;
}

const indentOf = (line) => line.length - line.trimStart().length;

function listBlock(source, at, parent) {
  const { lines, open } = source;
  const [, indent, first] = lines[at].match(ITEM);
  const isOrdered = /\d/.test(first);
  const list = el(isOrdered ? "ol" : "ul", isOrdered && parseInt(first, 10) !== 1 ? { start: parseInt(first, 10) } : {});
  let end = at;
  for (;;) {
    const item = lines[end]?.match(ITEM);
    // An item that is indented further belongs to the one before it.
    if (!item || /\d/.test(item[2]) !== isOrdered || RULE.test(lines[end]) || item[1].length < indent.length) break;
    const begin = end;
    const after = itemEnd(lines, begin, item[1].length);
    const content = Math.max(2, item[2].length + Math.min(item[3].length, 4));
    const inner = lines.slice(begin + 1, after).map((line) => line.slice(Math.min(indentOf(line), item[1].length + content)));
    const element = el("li");
    nestedBlocks(source, [item[4], ...inner], open >= begin && open < after ? open - begin : -1, element);
    unwrapFirst(element);
    list.append(element);
    end = after;
    let next = end;
    while (next < lines.length && isBlank(lines[next])) next += 1;
    // A list goes on after blank lines.
    if (next >= lines.length || ITEM.test(lines[next])) end = next;
  }
  parent.append(list);
  return end;
}

/** The line after an item that begins at `begin`. Lines that are indented belong to it, and those that go on its text. */
function itemEnd(lines, begin, indent) {
  let end = begin + 1;
  for (let at = end; at < lines.length; at += 1) {
    if (isBlank(lines[at])) continue;
    const isText = at === end && at > begin && !isBlank(lines[at - 1]) && !interrupts(lines[at]);
    if (indentOf(lines[at]) < indent + 2 && !isText) break;
    end = at + 1;
  }
  return end;
}

/** The text of an item stands in it without a paragraph. */
function unwrapFirst(item) {
  const first = item.firstChild;
  if (first?.nodeName !== "P") return;
  while (first.firstChild) first.before(first.firstChild);
  first.remove();
}

/** Whether a table begins. While its second line is being written, the bars of the first decide. */
function isTable({ lines, open }, at) {
  if (!lines[at].includes("|")) return false;
  if (at < lines.length - 1 && at + 1 !== open) return TABLE_MARKS.test(lines[at + 1]);
  return open >= 0 && lines[at].trimStart().startsWith("|") && /^[\s|:-]*$/.test(lines[at + 1] ?? "");
}

const cellsOf = (line) => line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function tableBlock({ lines, open, tableLabel }, at, parent) {
  const sides = cellsOf(lines[at + 1] ?? "").map((marks) => (/^:?-+:$/.test(marks) ? (marks[0] === ":" ? "center" : "end") : null));
  const row = (index, tag, count) => {
    const cells = cellsOf(lines[index]);
    return el("tr", {}, cells.slice(0, count).map((text, column) => cell(tag, sides[column], text, index === open)));
  };
  const cell = (tag, side, text, isOpen) =>
    el(tag, { "data-align": side, scope: tag === "th" ? "col" : null }, inlineNodes(text, isOpen));
  const head = row(at, "th");
  const body = el("tbody");
  let end = at + 2;
  for (; end < lines.length && !isBlank(lines[end]) && (lines[end].includes("|") || end === open); end += 1) {
    body.append(row(end, "td", head.childNodes.length));
  }
  const table = el("table", {}, el("thead", {}, head), body);
  parent.append(el("div", { class: "table", tabindex: 0, role: "group", "aria-label": tableLabel }, table));
  return end;
}

function paragraphBlock({ lines, open }, at, parent) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines[end]) && !(end === open && PARTIAL.test(lines[end]))) end += 1;
  const text = lines.slice(at, end).map((line) => line.trim()).join("\n");
  parent.append(el("p", {}, inlineNodes(text, open >= at && open < end)));
  return end;
}
