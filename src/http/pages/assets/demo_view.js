// Renders the parts of a conversation: entries, function calls, and JSON in readable form.

function visitorEntry(text) {
  return el("article", { class: "entry visitor", "aria-label": "You" }, el("div", { class: "bubble" }, text));
}

/** A stored message of the assistant, or of a person. */
function assistantEntry(message) {
  const reply = new Reply();
  for (const text of message.earlier_texts ?? []) reply.addText(text);
  for (const call of message.function_calls ?? []) reply.addCall(call);
  if (message.content) reply.addText(message.content);
  reply.end(message.stopped ? "stopped" : "finished");
  return reply.entry;
}

/** An entry of the assistant. It grows part by part, in the order in which they come. */
class Reply {
  entry = el("article", { class: "entry assistant", "aria-label": "Assistant" });
  /** The turn's id, once its stream has begun. */
  turn = null;
  /** The text that is written now or was written last. */
  text = "";
  #onBegin;
  #waiting = null;
  #writer = null;
  #frame = 0;
  /** The group that the next call joins. */
  #group = null;
  #running = new Map();

  constructor(onBegin = () => {}) {
    this.#onBegin = onBegin;
  }

  /** Its last text as it is shown. */
  get shownText() {
    return [...this.entry.querySelectorAll(".prose")].at(-1)?.textContent ?? "";
  }

  /** Called when a stream of the turn begins, also one that begins anew. What is shown then comes once more, or is obsolete. */
  begin({ turn_id: turn = null }) {
    // The page keeps its height, so that a reader who has scrolled up stays there.
    if (this.entry.childNodes.length > 0) this.entry.style.minHeight = `${this.entry.offsetHeight}px`;
    this.turn = turn;
    this.#clear();
    this.wait();
    this.#onBegin();
  }

  /** Shows that more will come. */
  wait(words = "") {
    this.#waiting?.end();
    this.#waiting = waitingDots(words);
    this.entry.append(this.#waiting.element);
  }

  startText() {
    this.#stopWaiting();
    this.#group = null;
    this.text = "";
    this.#writer = markdownWriter();
    this.entry.append(this.#writer.prose);
  }

  appendText(delta) {
    this.text += delta;
    this.#writer.append(delta);
    this.#frame ||= requestAnimationFrame(() => this.#render(false));
  }

  endText() {
    this.#finishText();
    this.wait();
  }

  startCall(id, call) {
    this.#running.set(id, { call, details: this.#appendCall(call, true) });
    this.wait();
  }

  endCall(id, result) {
    const { call, details } = this.#running.get(id);
    this.#running.delete(id);
    const ended = callDetails({ ...call, result });
    ended.open = details.open;
    patch(details, ended);
  }

  addText(text) {
    this.startText();
    this.#writer.append(text);
    this.#finishText();
    this.text = text;
  }

  addCall(call) {
    this.#appendCall(call, false);
  }

  /** Shows the end of the turn: `finished` or `stopped`. */
  end(kind) {
    this.#render(true);
    this.#stopWaiting();
    this.entry.style.minHeight = "";
    if (kind === "stopped") this.entry.append(el("p", { class: "stopped" }, this.text ? "Stopped." : "Stopped before there was a reply."));
  }

  remove() {
    this.#clear();
    this.entry.remove();
  }

  #appendCall(call, isRunning) {
    this.#group ??= el("div", { class: "calls", role: "group", "aria-label": "Function calls" });
    const details = callDetails(call, isRunning);
    this.#group.append(details);
    if (this.#group.parentNode !== this.entry) this.entry.append(this.#group);
    return details;
  }

  #render(isComplete) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#writer?.render(isComplete);
  }

  #finishText() {
    this.#render(true);
    this.#writer = null;
  }

  #stopWaiting() {
    this.#waiting?.end();
    this.#waiting = null;
  }

  #clear() {
    this.#render(true);
    this.#stopWaiting();
    this.#writer = this.#group = null;
    this.#running.clear();
    this.text = "";
    this.entry.replaceChildren();
  }
}

/** Three dots, and the words beside them: after 8 s some that the server still works. */
function waitingDots(words) {
  const text = el("p", { class: "slow" }, words);
  const dots = el("div", { class: "typing", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
  const slow = words ? 0 : setTimeout(() => (text.textContent = "Still working on it."), 8000);
  const element = el("div", { class: "waiting" }, dots, text);
  return { element, end: () => (clearTimeout(slow), element.remove()) };
}

function note(text) {
  return el("p", { class: "note" }, text);
}

/** Shows title, detail (with `code`) and an action, which is enabled after `failure.after` seconds. */
function errorBox(failure, label, action) {
  const button = el("button", { type: "button", class: "outline", onclick: action }, label);
  countDown(button, label, failure.after);
  const detail = failure.detail ? el("span", {}, ...inline(failure.detail)) : null;
  return el("div", { class: "failure" }, el("div", {}, el("strong", {}, failure.title), detail), button);
}

function countDown(button, label, seconds) {
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? `${label} in ${seconds} s` : label;
  if (seconds > 0) setTimeout(() => countDown(button, label, seconds - 1), 1000);
}

/** What a function does: while it runs, when it has run, when it has failed. */
const CALL_TITLES = {
  check_calendar_availability: ["Looking for free times", "Looked for free times"],
  book_appointment: ["Booking an appointment", "Booked an appointment", "Tried to book"],
  cancel_appointment: ["Cancelling an appointment", "Cancelled an appointment", "Tried to cancel"],
  search_knowledge_base: ["Searching the documents", "Searched the documents"],
};

function callDetails({ name, arguments: given, result }, isRunning = false) {
  const failed = Boolean(result?.error) || result?.success === false;
  const [running, done, tried = done] = CALL_TITLES[name] ?? [];
  const title = isRunning ? running : failed ? tried : done;
  const what = title ? [title, el("code", {}, name)] : [el("code", { class: "alone" }, name)];
  const copy = () => JSON.stringify({ name, arguments: given, result }, null, 2);
  return el(
    "details",
    { class: `call${isRunning ? " running" : ""}${failed ? " failed" : ""}` },
    el(
      "summary",
      {},
      el("span", { class: "dot", "aria-hidden": "true" }),
      el("span", { class: "what" }, what),
      el("span", { class: "came" }, isRunning ? "running" : failed ? "failed" : resultSummary(result)),
      chevron(),
    ),
    el(
      "div",
      { class: "inside" },
      title ? el("section", { class: "name" }, el("h3", {}, "Function"), el("code", {}, name)) : null,
      el("section", {}, el("h3", {}, "Arguments"), readable(given)),
      isRunning ? null : el("section", {}, el("h3", {}, "Result"), readable(result)),
      isRunning ? null : copyButton(copy, "Copy as JSON"),
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
