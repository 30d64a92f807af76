// The chat: starts or resumes a conversation, sends messages, and handles failures.

const $ = (id) => document.getElementById(id);
const SUGGESTIONS = [
  "What times are free for a demo next week?",
  "How much does it cost after the free trial?",
  "Book a demo next Tuesday at 10:00",
];

/** Time between looks for messages of a human. */
const POLL_MS = 5000;

let conversation = storage.read("conversation");
let busy = false;
/** The id of the newest message that was read. */
let newest = "";

async function start() {
  showState(el("p", {}, "Opening the conversation…"), "busy");
  try {
    const opened = (conversation && (await resumeConversation())) || (await beginConversation());
    $("state").replaceChildren();
    showHistory(opened.history);
    await finishPending();
  } catch (failure) {
    showStartError(failure);
  }
}

/** The stored conversation; null if it no longer exists on the server. */
async function resumeConversation() {
  try {
    return await api.history(conversation);
  } catch (failure) {
    if (failure.kind !== "gone") throw failure;
    storage.write("pending", null);
    return null;
  }
}

async function beginConversation() {
  const answer = await api.begin();
  conversation = answer.conversation_id;
  storage.write("conversation", conversation);
  return answer;
}

async function restart() {
  conversation = null;
  storage.write("conversation", null);
  storage.write("pending", null);
  setBusy(false);
  await start();
}

function showHistory(history) {
  newest = history.at(-1)?.id ?? "";
  const log = $("log");
  log.setAttribute("aria-busy", "true");
  log.classList.add("still");
  const entries = history.map((message) =>
    message.role === "user" ? visitorEntry(message.content) : assistantEntry(message.content, message.function_calls),
  );
  log.replaceChildren(...entries);
  requestAnimationFrame(() => log.classList.remove("still"));
  log.setAttribute("aria-busy", "false");
  $("composer").hidden = false;
  showBeginning();
  scrollToEnd("instant");
  focusMessage();
}

/** Does nothing on a phone, where the focus would open the keyboard. */
function focusMessage() {
  if (!matchMedia("(pointer: coarse)").matches) $("message").focus({ preventScroll: true });
}

/** Shows the welcome and the suggestions until the visitor has sent a message. */
function showBeginning() {
  const untouched = !$("log").querySelector(".visitor");
  $("welcome").hidden = $("chips").hidden = !untouched;
  $("restart").hidden = untouched;
}

/** Resends a message that was in flight when the page was closed; the same key returns the same response. */
async function finishPending() {
  const pending = storage.read("pending");
  if (!pending) return;
  const said = [...$("log").querySelectorAll(".visitor")];
  const entry = said.length > pending.before ? said.at(-1) : visitorEntry(pending.text);
  if (!entry.isConnected) $("log").append(entry);
  showBeginning();
  if (await deliver(entry, pending)) showHistory((await api.history(conversation)).history);
}

function submit(text) {
  const message = text.trim();
  if (busy || !message || lengthOf(message) > LIMIT) return;
  const before = $("log").querySelectorAll(".visitor").length;
  const entry = visitorEntry(message);
  $("log").append(entry);
  $("message").value = "";
  showBeginning();
  void deliver(entry, { text: message, key: newKey(), before });
}

/** Sends a message and shows its reply, or an error with an action. Returns whether there was a reply. */
async function deliver(entry, pending) {
  setBusy(true);
  storage.write("pending", pending);
  entry.classList.add("pending");
  const typing = typingEntry();
  entry.after(typing.entry);
  scrollToEnd();
  let reply = null;
  let failure = null;
  try {
    reply = await api.send(conversation, pending.text, pending.key);
  } catch (error) {
    failure = error;
  }
  typing.end();
  // The visitor has started another conversation in the meantime.
  if (!entry.isConnected) return false;
  const next = failure && (await showError(entry, pending, failure));
  if (next) return deliver(entry, next);
  if (reply) {
    storage.write("pending", null);
    entry.after(reply.ai_disabled ? note("The assistant is paused here. Your message has been saved for a person to answer.") : assistantEntry(reply.message, reply.function_calls));
  }
  entry.classList.remove("pending");
  setBusy(false);
  scrollToEnd();
  return reply !== null;
}

/** Shows an error. Returns the message to resend immediately, or null. */
async function showError(entry, pending, failure) {
  if (failure.kind === "gone") return resendInNewConversation(entry, pending);
  if (!failure.uncertain) storage.write("pending", null);
  if (failure.kind === "invalid") {
    $("message").value = pending.text;
    entry.replaceWith(note(failure.title));
    return null;
  }
  const ended = failure.kind === "ended";
  const box = errorBox(failure, ended ? "Start a new one" : "Try again", () => {
    if (ended) return void restart();
    if (busy) return;
    box.remove();
    // The server repeats a definite response for the same key, so a real retry needs a new one.
    void deliver(entry, failure.uncertain ? pending : { ...pending, key: newKey() });
  });
  entry.append(box);
  return null;
}

/** Sends the message in a new conversation, because the old one no longer exists. */
async function resendInNewConversation(entry, pending) {
  storage.write("pending", null);
  try {
    const { history } = await beginConversation();
    const greeting = history.map((message) => assistantEntry(message.content));
    $("log").replaceChildren(note("The earlier conversation no longer exists, so this is a new one."), ...greeting, entry);
    return { text: pending.text, key: newKey(), before: 0 };
  } catch (failure) {
    showStartError(failure);
    return null;
  }
}

/** Shows messages of a human, for which no request of this page waits. */
async function poll() {
  const polled = conversation;
  const isIdle = () => polled !== null && polled === conversation && !busy && !$("composer").hidden;
  if (isIdle() && !document.hidden) {
    try {
      const { history } = await api.history(polled, newest);
      if (isIdle()) history.forEach(showIfHuman);
    } catch {
      // The next message that the visitor sends shows the error.
    }
  }
  setTimeout(poll, POLL_MS);
}

function showIfHuman(message) {
  newest = message.id;
  if (message.sender_type === "agent") $("log").append(assistantEntry(message.content));
}

function showStartError(failure) {
  if (failure.kind === "absent") {
    const words = "The demo workspace is created at the first start with an empty embedded database, or on any server with:";
    showState([
      el("h1", {}, "There is no demo on this server."),
      el("p", {}, words),
      el("pre", {}, el("code", {}, "rejoinder apply config/demo/workspace.toml")),
      el("div", { class: "actions" }, el("a", { href: "docs" }, "Read the API reference")),
    ]);
  } else {
    const again = el("button", { type: "button", class: "outline", onclick: start }, "Try again");
    countDown(again, "Try again", failure.after ?? 0);
    showState([
      el("h1", {}, failure.title ?? "Something went wrong on this page."),
      el("p", {}, ...inline(failure.uncertain ? "The conversation could not be loaded from the server. Is it running?" : (failure.detail ?? failure.message))),
      el("div", { class: "actions" }, again, el("a", { href: "docs" }, "API reference")),
    ]);
  }
}

function showState(content, className = "") {
  for (const id of ["composer", "restart", "welcome", "chips"]) $(id).hidden = true;
  $("log").replaceChildren();
  $("state").className = `state ${className}`;
  $("state").replaceChildren(...[content].flat());
}

function setBusy(value) {
  busy = value;
  fitComposer();
  if (!busy) focusMessage();
}

/** The length as the server counts it: code points of the trimmed text. */
function lengthOf(text) {
  return [...text.trim()].length;
}

function fitComposer() {
  const field = $("message");
  const length = lengthOf(field.value);
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
  $("counter").textContent = length > LIMIT ? `${length - LIMIT} too many` : `${length} / ${LIMIT}`;
  $("counter").className = `counter${length > LIMIT ? " over" : length > LIMIT * 0.9 ? " near" : ""}`;
  field.setAttribute("aria-invalid", String(length > LIMIT));
  $("send").disabled = busy || length === 0 || length > LIMIT;
}

function scrollToEnd(behavior = "smooth") {
  requestAnimationFrame(() => window.scrollTo({ top: document.documentElement.scrollHeight, behavior }));
}

$("chips").append(
  ...SUGGESTIONS.map((text) => el("button", { type: "button", class: "chip", onclick: () => submit(text) }, text)),
);
$("composer").addEventListener("submit", (event) => (event.preventDefault(), submit($("message").value)));
$("message").addEventListener("input", fitComposer);
$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit($("message").value);
});
$("restart").addEventListener("click", () => void restart());
void start();
setTimeout(poll, POLL_MS);
