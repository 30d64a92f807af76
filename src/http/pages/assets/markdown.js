// Renders the subset of Markdown that models and descriptions use: paragraphs, lists, headings, code
// blocks; bold, italics, code and links within a line. Everything else stays plain text.

/** `text` as nodes in a `div.prose`. */
function markdown(text) {
  const writer = markdownWriter();
  writer.append(text);
  writer.render(true);
  return writer.prose;
}

/** Renders a text that grows: `append` takes more of it, `render` shows it. Only the end of the text, from its last block that may still
 * change, is rendered again, and in place. */
function markdownWriter() {
  const prose = el("div", { class: "prose" });
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
    const kept = finalBlocks;
    for (let at = from; at <= last; ) {
      at = block(lines, at, fresh, isComplete ? -1 : last);
      // The line after a block ends it, so that line must be complete.
      if (at < last) {
        from = at;
        finalBlocks = kept + fresh.childNodes.length;
      }
    }
    patchChildren(prose, fresh, kept);
  }

  return { prose, append, render };
}

const ITEM = /^\s{0,3}([-*•]|\d{1,3}[.)])\s+(.*)$/;
const FENCE = /^\s{0,3}```/;
const HEADING = /^#{1,6}\s+(.*)$/;

/** Appends the block that starts at line `at`, and returns the index of the line after it. The line `open` is not complete yet; -1 if
 * all are. */
function block(lines, at, prose, open) {
  if (lines[at].trim() === "") return at + 1;
  if (FENCE.test(lines[at])) {
    let end = at + 1;
    while (end < lines.length && !FENCE.test(lines[end])) end += 1;
    prose.append(el("pre", {}, el("code", {}, lines.slice(at + 1, end).join("\n"))));
    return end + 1;
  }
  const heading = lines[at].match(HEADING);
  if (heading) {
    prose.append(el("h4", {}, ...inline(heading[1], at === open)));
    return at + 1;
  }
  return ITEM.test(lines[at]) ? list(lines, at, prose, open) : paragraph(lines, at, prose, open);
}

function list(lines, at, prose, open) {
  const first = lines[at].match(ITEM)[1];
  const ordered = /\d/.test(first);
  const items = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(first, 10) } : {});
  let end = at;
  for (let item; end < lines.length && (item = lines[end].match(ITEM)); end += 1) {
    if (/\d/.test(item[1]) !== ordered) break;
    items.append(el("li", {}, ...inline(item[2], end === open)));
  }
  prose.append(items);
  return end;
}

function paragraph(lines, at, prose, open) {
  const paragraph = el("p");
  let end = at;
  for (; end < lines.length && lines[end].trim() !== ""; end += 1) {
    if (end > at && (ITEM.test(lines[end]) || FENCE.test(lines[end]) || HEADING.test(lines[end]))) break;
    if (end > at) paragraph.append(el("br"));
    paragraph.append(...inline(lines[end], end === open));
  }
  prose.append(paragraph);
  return end;
}

const SPAN = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"”)]*[^\s<>"”).,;:!?])|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])/g;

/** The nodes of a line, whose end may still be missing. */
function inline(line, isOpen = false) {
  const text = isOpen ? closeSpans(line) : line;
  const nodes = [];
  let from = 0;
  for (const span of text.matchAll(SPAN)) {
    nodes.push(text.slice(from, span.index));
    const [whole, code, bold, label, target, bare, italic] = span;
    if (code) nodes.push(el("code", {}, code));
    else if (bold) nodes.push(el("strong", {}, bold));
    else if (italic) nodes.push(el("em", {}, italic));
    else nodes.push(el("a", { href: target ?? bare, rel: "noopener noreferrer", target: "_blank" }, label ?? bare));
    from = span.index + whole.length;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}

/** Closes the code, link or bold text that a line ends in, so that its marks do not show for a moment. */
function closeSpans(line) {
  if (line.split("`").length % 2 === 0) return line.endsWith("`") ? line.slice(0, -1) : `${line}\``;
  const link = line.match(/\[([^\]]+)\]\([^\s)]*$/);
  if (link) return line.slice(0, link.index) + link[1];
  const isBold = (text) => text.split("**").length % 2 === 0;
  const bare = line.replace(/\*+$/, "");
  return isBold(line) ? bare + (isBold(bare) ? "**" : "") : line;
}
