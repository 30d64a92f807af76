// Renders the subset of Markdown that models and descriptions use: paragraphs, lists, headings, code
// blocks; bold, italics, code and links within a line. Everything else stays plain text.

/** `text` as nodes in a `div.prose`. */
function markdown(text) {
  const prose = el("div", { class: "prose" });
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let at = 0; at < lines.length; ) at = block(lines, at, prose);
  return prose;
}

const ITEM = /^\s{0,3}([-*•]|\d{1,3}[.)])\s+(.*)$/;
const FENCE = /^\s{0,3}```/;
const HEADING = /^#{1,6}\s+(.*)$/;

/** Appends the block that starts at line `at`, and returns the index of the line after it. */
function block(lines, at, prose) {
  if (lines[at].trim() === "") return at + 1;
  if (FENCE.test(lines[at])) {
    let end = at + 1;
    while (end < lines.length && !FENCE.test(lines[end])) end += 1;
    prose.append(el("pre", {}, el("code", {}, lines.slice(at + 1, end).join("\n"))));
    return end + 1;
  }
  const heading = lines[at].match(HEADING);
  if (heading) {
    prose.append(el("h4", {}, ...inline(heading[1])));
    return at + 1;
  }
  return ITEM.test(lines[at]) ? list(lines, at, prose) : paragraph(lines, at, prose);
}

function list(lines, at, prose) {
  const first = lines[at].match(ITEM)[1];
  const ordered = /\d/.test(first);
  const items = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(first, 10) } : {});
  let end = at;
  for (let item; end < lines.length && (item = lines[end].match(ITEM)); end += 1) {
    if (/\d/.test(item[1]) !== ordered) break;
    items.append(el("li", {}, ...inline(item[2])));
  }
  prose.append(items);
  return end;
}

function paragraph(lines, at, prose) {
  const paragraph = el("p");
  let end = at;
  for (; end < lines.length && lines[end].trim() !== ""; end += 1) {
    if (end > at && (ITEM.test(lines[end]) || FENCE.test(lines[end]) || HEADING.test(lines[end]))) break;
    if (end > at) paragraph.append(el("br"));
    paragraph.append(...inline(lines[end]));
  }
  prose.append(paragraph);
  return end;
}

const SPAN = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"”)]*[^\s<>"”).,;:!?])|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])/g;

function inline(text) {
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
