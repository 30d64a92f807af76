// The options of the widget as a form: a change shows at once, here and in the code for a page.
import { el } from "./widget/dom.js";
import { SERVER, showSnippet } from "./snippet.js";

const DEMO = "550e8400-e29b-41d4-a716-446655440000";
/** Options whose change begins anew; the others are set, and undefined where they have their default. */
const STRUCTURAL = ["assistant", "server", "mode", "open"];
const TYPING_MS = 300;
const MAX_EVENTS = 50;

/** The form: `kind` is an input's type, `choice`, or `lines` and `json` of a text area. The first word of a choice is the default. */
const GROUPS = [
  ["The chat", [
    { name: "assistant", label: "Assistant", kind: "text", initial: DEMO, isWhole: true, about: "The id of the workspace file, or ast_…" },
    { name: "server", label: "Server", kind: "url", placeholder: SERVER, isWhole: true, about: "By default where the script comes from." },
    { name: "mode", label: "Mode", kind: "choice", words: ["floating", "inline"], about: "As a whole page it is at /chat/ and the id." },
    { name: "locale", label: "Language", kind: "choice", words: ["", "en", "de"], about: "By default that of the page, then of the browser." },
  ]],
  ["Looks", [
    { name: "theme", label: "Theme", kind: "choice", words: ["auto", "light", "dark"] },
    { name: "position", label: "Corner", kind: "choice", words: ["end", "start"] },
    { name: "accent", label: "Accent", kind: "text", placeholder: "#0f5f4b" },
    { name: "zIndex", label: "Layer", kind: "number", placeholder: "2147483000" },
    { name: "title", label: "Title", kind: "text" },
    { name: "subtitle", label: "Subtitle", kind: "text" },
  ]],
  ["Behaviour", [
    { name: "open", label: "Open at once", kind: "checkbox" },
    { name: "hidden", label: "No button", kind: "checkbox" },
    { name: "sound", label: "Sound for new messages", kind: "checkbox" },
    { name: "tools", label: "Function calls", kind: "choice", words: ["", "label", "hidden", "details"] },
    { name: "quickReplies", label: "Quick replies", kind: "lines", about: "One a line." },
    { name: "variables", label: "Variables", kind: "json", placeholder: '{ "customer_name": "Ada" }', about: "For new conversations. JSON." },
    { name: "texts", label: "Texts", kind: "json", placeholder: '{ "send": "Off it goes" }', about: "Each text can be replaced. JSON." },
  ]],
];
const FIELDS = GROUPS.flatMap(([, fields]) => fields);
const CALLS = [["open"], ["close"], ["toggle"], ["show"], ["hide"], ["send", "Hello!"], ["reset"], ["destroy"]];
const TOKEN_QUESTION = "A token that names the visitor; none for nobody";
const EVENTS = ["ready", "open", "close", "message", "unread", "error"];

window.RejoinderQueue ||= [];
/** The options that are in use. */
let current = {};

const inputOf = ({ name }) => document.getElementById(`option-${name}`);

function fieldElement(field) {
  const { name, label, kind, about, placeholder, initial, isWhole } = field;
  const attributes = { id: `option-${name}`, name, placeholder, "aria-describedby": about ? `about-${name}` : null, autocomplete: "off" };
  const isText = kind === "lines" || kind === "json";
  const input =
    kind === "choice"
      ? el("select", attributes, field.words.map((word) => el("option", { value: word }, word || "default")))
      : isText
        ? el("textarea", { ...attributes, rows: 3, spellcheck: "false" })
        : el("input", { ...attributes, type: kind, value: initial });
  const text = el("label", { for: `option-${name}` }, `${label} `, el("code", {}, name));
  const parts = kind === "checkbox" ? [input, text] : [text, input];
  const className = `field${kind === "checkbox" ? " switch" : ""}${isWhole || isText ? " whole" : ""}`;
  return el("div", { class: className }, parts, about ? el("p", { class: "about", id: `about-${name}` }, about) : null);
}

/** The value of a field; undefined where the option has its default. Throws where it cannot be read. */
function valueOf(field) {
  const input = inputOf(field);
  const text = input.value.trim();
  if (field.kind === "checkbox") return input.checked || undefined;
  if (text === "" || (field.kind === "choice" && text === field.words[0])) return undefined;
  if (field.kind === "lines") return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (field.kind === "json") return JSON.parse(text);
  return field.kind === "number" ? Number(text) : text;
}

function readOptions() {
  const options = {};
  for (const field of FIELDS) {
    const input = inputOf(field);
    try {
      options[field.name] = valueOf(field);
      input.removeAttribute("aria-invalid");
    } catch {
      // A value that is still being typed counts as the last one.
      options[field.name] = current[field.name];
      input.setAttribute("aria-invalid", "true");
    }
  }
  return options;
}

function apply() {
  const options = readOptions();
  const isNew = STRUCTURAL.some((name) => options[name] !== current[name]);
  const isInline = options.mode === "inline";
  current = options;
  document.getElementById("stage").hidden = !isInline;
  showSnippet(document.getElementById("snippet"), options);
  if (isNew) mount();
  else set();
}

function set() {
  queueCall("set", Object.fromEntries(Object.entries(current).filter(([name]) => !STRUCTURAL.includes(name))));
}

function identify() {
  const token = prompt(TOKEN_QUESTION);
  if (token !== null) queueCall("identify", token === "" ? null : { token });
}

function mount() {
  const given = Object.entries(current).filter(([, value]) => value !== undefined);
  const options = Object.fromEntries(given);
  queueCall("mount", options.mode === "inline" ? { ...options, target: "#stage" } : options);
}

function showEvent(name, detail) {
  const list = document.getElementById("events");
  list.prepend(el("li", {}, detail === undefined || detail === null ? name : `${name} ${JSON.stringify(detail)}`));
  list.childNodes[MAX_EVENTS]?.remove();
}

let typing = 0;

/** A text is applied when its author pauses. */
function applySoon() {
  clearTimeout(typing);
  typing = setTimeout(apply, TYPING_MS);
}

document.getElementById("options").append(
  ...GROUPS.map(([title, fields]) => el("fieldset", {}, el("legend", {}, title), fields.map(fieldElement))),
);
document.getElementById("options").addEventListener("input", applySoon);
document.getElementById("options").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("calls").append(
  ...CALLS.map((call) => callButton(call[0], () => queueCall(...call))),
  callButton("identify", identify),
  callButton("set", set),
  callButton("mount", mount),
);

function callButton(name, onclick) {
  return el("button", { type: "button", class: "outline", onclick }, name);
}

/** The queue is another one as soon as the widget is there. */
function queueCall(...call) {
  window.RejoinderQueue.push(call);
}

for (const name of EVENTS) queueCall("on", name, (detail) => showEvent(name, detail));
apply();
