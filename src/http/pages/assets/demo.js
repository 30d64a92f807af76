// The chat: starts or resumes a conversation, sends messages, and handles failures.

const $ = (id) => document.getElementById(id);
const SUGGESTIONS = [
  "What times are free for a demo next week?",
  "How much does it cost after the free trial?",
  "Book a demo next Tuesday at 10:00",
];

/** Time between looks for messages of a human. */
const POLL_MS = 5000;
/** The most connections of one turn that may break before the visitor is asked. */
const MAX_BREAKS = 7;
/** The distance from the end of the page, in pixels, within which a reader is at the end. It is less than what the page goes back to the
 * beginning of a long reply: the entry's `scroll-margin-top` without the header. */
const NEAR_END = 20;

let conversation = storage.read("conversation");
/** The turn that is shown as it runs: its `reply`, whether it `isStopping`, and `leave`, which ends its connection. */
let running = null;
/** The id of the newest message that was read. */
let newest = "";
/** Whether the page stays at its end while a reply grows. */
let isFollowing = true;
/** The newest reply that became longer than the screen. */
let longEntry = null;

async function start() {
  showState(el("p", {}, "Opening the conversation…"), "busy");
  try {
    // The stream is opened before the history is read, so a turn that ends in between is in the history.
    const stream = conversation && (await resumeStream());
    const { history } = (conversation && (await resumeConversation())) || (await beginConversation());
    $("state").replaceChildren();
    showHistory(history);
    await resumeTurn(stream, history);
  } catch (failure) {
    showStartError(failure);
  }
}

/** The stream of the turn that is running, and what ends its connection; null if none is. */
async function resumeStream() {
  const leave = new AbortController();
  try {
    const body = await api.resume(conversation, leave.signal);
    return body && { body, leave };
  } catch (failure) {
    if (failure.kind !== "gone") throw failure;
    return null;
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
  running?.leave.abort();
  setRunning(null);
  await start();
}

function showHistory(history) {
  newest = history.at(-1)?.id ?? "";
  const log = $("log");
  log.classList.add("still");
  log.replaceChildren(...history.map((message) => (message.role === "user" ? visitorEntry(message.content) : assistantEntry(message))));
  requestAnimationFrame(() => log.classList.remove("still"));
  $("composer").hidden = false;
  announce("");
  showBeginning();
  scrollToEnd();
  focusMessage();
}

/** Takes the focus from nothing else that the visitor uses. Does nothing on a phone, where the focus would open the keyboard. */
function focusMessage() {
  const isFree = [document.body, $("send")].includes(document.activeElement);
  if (isFree && !matchMedia("(pointer: coarse)").matches) $("message").focus({ preventScroll: true });
}

/** Shows the welcome and the suggestions until the visitor has sent a message. */
function showBeginning() {
  const untouched = !$("log").querySelector(".visitor");
  $("welcome").hidden = $("chips").hidden = !untouched;
  $("restart").hidden = untouched;
}

/** Shows the turn that is running, from its start. Where none is, resends a message that was in flight when the page was closed, if it has
 * no reply; the same key returns the same response. */
async function resumeTurn(stream, history) {
  const visitors = [...$("log").querySelectorAll(".visitor")];
  const isAnswered = history.findLast((message) => message.sender_type !== "agent")?.role !== "user";
  let pending = storage.read("pending");
  const isStored = pending && visitors.length > pending.before;
  if (isStored && isAnswered) {
    storage.write("pending", null);
    pending = null;
  }
  if (stream && isAnswered) {
    stream.leave.abort();
    stream = null;
  }
  if (stream) return deliver(visitors.at(-1), isStored ? pending : null, stream);
  if (!pending) return;
  const entry = isStored ? visitors.at(-1) : visitorEntry(pending.text);
  if (!entry.isConnected) $("log").append(entry);
  showBeginning();
  await deliver(entry, pending);
}

function submit(text) {
  const message = text.trim();
  if (running || !message || lengthOf(message) > LIMIT) return;
  const before = $("log").querySelectorAll(".visitor").length;
  const entry = visitorEntry(message);
  $("log").append(entry);
  $("message").value = "";
  showBeginning();
  scrollToEnd();
  void deliver(entry, { text: message, key: newKey(), before });
}

/** Sends a message and shows its reply as it comes, or an error with an action. A turn whose `stream` is open already is joined; without
 * `pending` it was sent by another page. */
async function deliver(entry, pending, stream = null) {
  if (pending) storage.write("pending", pending);
  entry.classList.add("pending");
  const reply = new Reply(() => {
    entry.classList.remove("pending");
    if (turn.isStopping) void cancel(turn);
  });
  const turn = { reply, isStopping: false, leave: stream?.leave ?? new AbortController() };
  setRunning(turn);
  entry.after(reply.entry);
  reply.wait();
  announce("The assistant is answering.");
  let end;
  try {
    end = await follow(turn, pending, stream?.body);
  } catch (failure) {
    end = { failure: failure instanceof ChatError ? failure : defect(failure) };
  }
  // The visitor has started another conversation in the meantime.
  if (running !== turn) return;
  const next = await showEnd(entry, pending, reply, end);
  if (next) return deliver(entry, next);
  entry.classList.remove("pending");
  setRunning(null);
  followEnd(reply.entry);
}

/** Shows a turn until it ends, over as many connections as that takes. Each begins with the turn's start. Returns the turn's end;
 * where there is no turn, the server's `answer`. */
async function follow({ reply, leave }, pending, body) {
  const send = () => api.send(conversation, pending.text, pending.key, leave.signal);
  const open = pending ? send : () => api.resume(conversation, leave.signal);
  for (let breaks = 0; ; breaks += 1) {
    let failure = lostConnection();
    try {
      const opened = (breaks === 0 && body) || (await open());
      if (!(opened instanceof ReadableStream)) return { answer: opened };
      const end = await readTurn(opened, reply);
      if (end?.kind === "failed") return { failure: noReply(end.error.replace("Failed to process message: ", "")) };
      if (end) return end;
    } catch (error) {
      failure = error;
    }
    if (!failure.uncertain || reply.turn === null || breaks === MAX_BREAKS || leave.signal.aborted) throw failure;
    reply.wait("Reconnecting…");
    const pause = Math.max(500 * 2 ** Math.min(breaks, 4), 1000 * failure.after);
    await new Promise((done) => setTimeout(done, pause));
  }
}

/** Shows how a turn ended. Returns the message to send instead, or null. */
async function showEnd(entry, pending, reply, { kind, answer, failure }) {
  if (failure) {
    reply.remove();
    announce(`${failure.title} ${failure.detail}`);
    return showError(entry, pending, failure);
  }
  if (answer === null) {
    // The turn has ended while this page was not connected.
    setTimeout(start);
    return null;
  }
  storage.write("pending", null);
  if (answer?.ai_disabled) {
    reply.entry.replaceWith(note("The assistant is paused here. Your message has been saved for a person to answer."));
    announce("The assistant is paused here.");
  } else {
    if (answer) answer.function_calls.forEach((call) => reply.addCall(call));
    if (answer?.message) reply.addText(answer.message);
    reply.end(kind ?? "finished");
    announce(kind === "stopped" ? "The reply was stopped." : reply.shownText);
  }
  return null;
}

/** Stops the turn. What the model has written so far becomes the reply. */
function stopRunning() {
  running.isStopping = true;
  fitComposer();
  // Without its id it is stopped when its stream begins.
  if (running.reply.turn) void cancel(running);
}

async function cancel(turn) {
  try {
    await api.cancel(conversation, turn.reply.turn);
  } catch (failure) {
    if (running !== turn) return;
    turn.isStopping = false;
    fitComposer();
    turn.reply.wait(`It could not be stopped: ${failure.title}`);
  }
}

/** Shows an error. Returns the message to resend immediately, or null. */
async function showError(entry, pending, failure) {
  if (!pending) {
    entry.append(errorBox(failure, "Try again", () => void start()));
    return null;
  }
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
    if (running) return;
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
    const greeting = history.map(assistantEntry);
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
  const isIdle = () => polled !== null && polled === conversation && !running && !$("composer").hidden;
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
  if (message.sender_type !== "agent") return;
  $("log").append(assistantEntry(message));
  announce(message.content);
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
  announce($("state").querySelector("h1, p").textContent);
}

/** Says a text to those who hear the page. */
function announce(text) {
  $("status").textContent = text;
}

function setRunning(turn) {
  running = turn;
  $("log").setAttribute("aria-busy", String(running !== null));
  fitComposer();
  if (!running) focusMessage();
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
  $("send").classList.toggle("stop", running !== null);
  $("send").setAttribute("aria-label", running ? "Stop" : "Send");
  $("send").disabled = running ? running.isStopping : length === 0 || length > LIMIT;
}

function scrollToEnd() {
  setFollowing(true);
  requestAnimationFrame(jumpToEnd);
}

function jumpToEnd() {
  window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

/** Keeps a reader who is at the end of the page there while `entry` grows. Once it is longer than the screen, it is read from its
 * beginning, unless the reader goes to the end again. */
function followEnd(entry) {
  if (!isFollowing) return;
  const added = document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
  const top = entry.getBoundingClientRect().top - added;
  if (entry === longEntry || top >= document.querySelector(".top").offsetHeight) return jumpToEnd();
  longEntry = entry;
  entry.scrollIntoView({ block: "start", behavior: "instant" });
  setFollowing(false);
}

function setFollowing(value) {
  isFollowing = value;
  $("to-end").hidden = isFollowing;
}

let scrolled = window.scrollY;

/** A reader who scrolls up stays there; one who is at the end follows it. A page that grows scrolls nobody. */
function readScroll() {
  const isUp = window.scrollY < scrolled;
  scrolled = window.scrollY;
  const isAtEnd = document.documentElement.scrollHeight - window.innerHeight - scrolled < NEAR_END;
  if (isAtEnd || isUp) setFollowing(isAtEnd);
}

$("chips").append(
  ...SUGGESTIONS.map((text) => el("button", { type: "button", class: "chip", onclick: () => submit(text) }, text)),
);
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) stopRunning();
  else submit($("message").value);
});
// The second click of a double click would stop what the first has sent.
$("send").addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
$("message").addEventListener("input", fitComposer);
$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit($("message").value);
});
$("restart").addEventListener("click", () => void restart());
$("to-end").addEventListener("click", scrollToEnd);
window.addEventListener("scroll", readScroll, { passive: true });
new ResizeObserver(() => running && followEnd(running.reply.entry)).observe($("log"));
void start();
setTimeout(poll, POLL_MS);
