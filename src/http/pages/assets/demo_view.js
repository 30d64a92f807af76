// Renders the parts of a conversation: entries, function calls, and JSON in readable form.

function visitorEntry(text) {
  return el("article", { class: "entry visitor", "aria-label": "You" }, el("div", { class: "bubble" }, text));
}

function assistantEntry(text, calls) {
  const entry = el("article", { class: "entry assistant", "aria-label": "Assistant" });
  if (calls?.length) {
    entry.append(el("div", { class: "calls", role: "group", "aria-label": "Function calls" }, calls.map(callDetails)));
  }
  if (text) entry.append(markdown(text));
  return entry;
}

function typingEntry() {
  const dots = el("div", { class: "typing", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
  const entry = el("article", { class: "entry assistant" }, dots, el("span", { class: "visually-hidden" }, "The assistant is answering."));
  const slow = setTimeout(() => dots.after(el("p", { class: "slow" }, "Still working on it.")), 8000);
  return { entry, end: () => (clearTimeout(slow), entry.remove()) };
}

function note(text) {
  return el("p", { class: "note" }, text);
}

/** Shows title, detail (with `code`) and an action, which is enabled after `failure.after` seconds. */
function errorBox(failure, label, action) {
  const button = el("button", { type: "button", class: "outline", onclick: action }, label);
  countDown(button, label, failure.after);
  const detail = failure.detail ? el("span", {}, ...inline(failure.detail)) : null;
  return el("div", { class: "failure", role: "alert" }, el("div", {}, el("strong", {}, failure.title), detail), button);
}

function countDown(button, label, seconds) {
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? `${label} in ${seconds} s` : label;
  if (seconds > 0) setTimeout(() => countDown(button, label, seconds - 1), 1000);
}

const CALL_TITLES = {
  check_calendar_availability: "Looked for free times",
  book_appointment: "Booked an appointment",
  cancel_appointment: "Cancelled an appointment",
  search_knowledge_base: "Searched the documents",
};
const FAILED_CALL_TITLES = {
  book_appointment: "Tried to book",
  cancel_appointment: "Tried to cancel",
};

function callDetails({ name, arguments: given, result }) {
  const failed = Boolean(result?.error) || result?.success === false;
  const title = (failed && FAILED_CALL_TITLES[name]) || CALL_TITLES[name];
  const what = title ? [title, el("code", {}, name)] : [el("code", { class: "alone" }, name)];
  return el(
    "details",
    { class: failed ? "call failed" : "call" },
    el(
      "summary",
      {},
      el("span", { class: "dot", "aria-hidden": "true" }),
      el("span", { class: "what" }, what),
      el("span", { class: "came" }, failed ? "failed" : resultSummary(result)),
      chevron(),
    ),
    el(
      "div",
      { class: "inside" },
      title ? el("section", { class: "name" }, el("h3", {}, "Function"), el("code", {}, name)) : null,
      el("section", {}, el("h3", {}, "Arguments"), readable(given)),
      el("section", {}, el("h3", {}, "Result"), readable(result)),
      copyButton(() => JSON.stringify({ name, arguments: given, result }, null, 2), "Copy as JSON"),
    ),
  );
}

/** Summarizes a result in two words: the number of items in its list. */
function resultSummary(result) {
  const list = Object.values(result ?? {}).find(Array.isArray);
  if (!list) return "done";
  return list.length === 0 ? "none found" : `${list.length} found`;
}

function chevron() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const line = { d: "M5 2.5 9.5 7 5 11.5", fill: "none", stroke: "currentColor", "stroke-width": "1.8", "stroke-linecap": "round", "stroke-linejoin": "round" };
  for (const [name, value] of Object.entries(line)) path.setAttribute(name, value);
  for (const [name, value] of Object.entries({ viewBox: "0 0 14 14", class: "chevron", "aria-hidden": "true" })) svg.setAttribute(name, value);
  svg.append(path);
  return svg;
}

const DATE_TIME = /^(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}\S*)$/;

function readable(value) {
  if (Array.isArray(value)) return readableList(value);
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (entries.length === 0) return el("span", { class: "v-none" }, "none");
    return el("dl", { class: "v-map" }, entries.flatMap(([key, inner]) => [el("dt", {}, key), el("dd", {}, readable(inner))]));
  }
  return el("span", {}, String(value));
}

function readableList(values) {
  if (values.length === 0) return el("span", { class: "v-none" }, "none");
  if (values.every((value) => typeof value === "string" && DATE_TIME.test(value))) return readableDays(values);
  const plain = values.every((value) => value === null || typeof value !== "object");
  return el(plain ? "ul" : "ol", { class: plain ? "v-list" : "v-rows" }, values.map((value) => el("li", {}, readable(value))));
}

/** Groups times by day: one line for each day. */
function readableDays(values) {
  const days = new Map();
  for (const value of values) {
    const [, day, time] = value.match(DATE_TIME);
    days.set(day, [...(days.get(day) ?? []), time]);
  }
  const name = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
  const lines = [...days].map(([day, times]) =>
    el(
      "li",
      {},
      el("time", { class: "day", datetime: day }, name.format(new Date(`${day}T00:00:00Z`))),
      el("span", { class: "times" }, times.map((time) => el("span", {}, time))),
    ),
  );
  return el("ul", { class: "v-days" }, lines);
}
