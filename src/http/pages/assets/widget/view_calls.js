// The assistant's calls of its tools: in words, or with arguments and result.

import { copyButton, el, icon } from "./dom.js";
import { fillText } from "./text_format.js";

const ICON_CHEVRON = "M7.5 5l5 5-5 5";
const ICON_CHECK = "M5 10.5 8.5 14 15 6.5";

/** Calls that follow each other, as an element. `mode`: `label` or `details`. `opened`: the ids of those whose details are shown. */
export function callsElement(frame, mode, calls, opened) {
  return mode === "details" ? detailedCalls(frame, calls, opened) : namedCalls(frame, calls);
}

const hasFailed = (call) => !call.isRunning && (Boolean(call.result?.error) || call.result?.success === false);

/** The call in the visitor's words; those of a tool that has none are `others`. */
function callTitle({ texts, chat }, call, others) {
  const { kind, label } = chat.state.settings?.tool_labels?.[call.name] ?? {};
  if (label) return label;
  const words = texts.tools[call.name] ?? texts.tools[kind] ?? others;
  if (!words) return null;
  const [running, done, failed = done] = [words].flat();
  return (call.isRunning ? running : hasFailed(call) ? failed : done) ?? running;
}

/** One line for each thing that was done, however often it was done. */
function namedCalls(frame, calls) {
  const steps = new Map();
  for (const call of calls) {
    const title = callTitle(frame, call, frame.texts.tools.other);
    const state = call.isRunning ? "running" : hasFailed(call) ? "failed" : "done";
    steps.set(title, steps.get(title) === "running" ? "running" : state);
  }
  const lines = [...steps].map(([title, state]) => el("li", { class: `step ${state}` }, stepMark(state), title));
  return el("ul", { class: "steps", part: "tools" }, lines);
}

function stepMark(state) {
  return el("span", { class: "mark", "aria-hidden": "true" }, state === "done" ? icon(ICON_CHECK) : el("i", { class: "dot" }));
}

function detailedCalls(frame, calls, opened) {
  return el("div", { class: "calls", part: "tools" }, calls.map((call) => callDetails(frame, call, opened.has(call.id))));
}

function callDetails(frame, call, isOpen) {
  const { texts } = frame;
  const title = callTitle(frame, call);
  const isFailed = hasFailed(call);
  const what = title ? [title, " ", el("code", {}, call.name)] : [el("code", { class: "alone" }, call.name)];
  const section = (name, content) => el("section", {}, el("p", { class: "term" }, name), content);
  const json = () => JSON.stringify({ name: call.name, arguments: call.arguments, result: call.result }, null, 2);
  return el(
    "details",
    { class: `call${call.isRunning ? " running" : ""}${isFailed ? " failed" : ""}`, "data-call": call.id, open: isOpen },
    el(
      "summary",
      {},
      el("i", { class: "dot", "aria-hidden": "true" }),
      el("span", { class: "what" }, what),
      el("span", { class: "came" }, call.isRunning ? texts.toolRunning : isFailed ? texts.toolFailed : resultSummary(texts, call.result)),
      icon(ICON_CHEVRON),
    ),
    el(
      "div",
      { class: "inside" },
      title ? section(texts.toolFunction, el("code", {}, call.name)) : null,
      section(texts.toolArguments, readableValue(texts, call.arguments)),
      call.isRunning ? null : section(texts.toolResult, readableValue(texts, call.result)),
      call.isRunning ? null : copyButton(json, { ...texts, copy: texts.copyJson }, frame.later),
    ),
  );
}

/** Summarizes a result in two words: the number of items in its list. */
function resultSummary(texts, result) {
  const list = Object.values(result ?? {}).find(Array.isArray);
  if (!list) return texts.toolDone;
  return list.length === 0 ? texts.toolNothing : fillText(texts.toolFound, { count: list.length });
}

const DATE_TIME = /^(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}\S*)$/;

function readableValue(texts, value) {
  if (Array.isArray(value)) return readableList(texts, value);
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (entries.length === 0) return el("span", { class: "v-none" }, texts.toolNone);
    return el("dl", { class: "v-map" }, entries.flatMap(([key, inner]) => [el("dt", {}, key), el("dd", {}, readableValue(texts, inner))]));
  }
  return el("span", { dir: "auto" }, String(value));
}

function readableList(texts, values) {
  if (values.length === 0) return el("span", { class: "v-none" }, texts.toolNone);
  if (values.every((value) => typeof value === "string" && DATE_TIME.test(value))) return readableDays(texts, values);
  const isPlain = values.every((value) => value === null || typeof value !== "object");
  const items = values.map((value) => el("li", {}, readableValue(texts, value)));
  return el(isPlain ? "ul" : "ol", { class: isPlain ? "v-list" : "v-rows" }, items);
}

/** Groups times by day: one line for each day. */
function readableDays(texts, values) {
  const days = new Map();
  for (const value of values) {
    const [, day, time] = value.match(DATE_TIME);
    days.set(day, [...(days.get(day) ?? []), time]);
  }
  const name = new Intl.DateTimeFormat(texts.locale, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
  const lines = [...days].map(([day, times]) => {
    const date = el("time", { class: "day", datetime: day }, name.format(new Date(`${day}T00:00:00Z`)));
    return el("li", {}, date, el("span", { class: "times" }, times.map((time) => el("span", {}, time))));
  });
  return el("ul", { class: "v-days" }, lines);
}
