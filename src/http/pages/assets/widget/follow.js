// Follows a conversation beside this page's own messages: those of a human or another device, and its status.
import { Failure, failureFrom, lostConnection } from "./failures.js";
import { pause, readEvents } from "./sse.js";
import { joinTabs } from "./tabs.js";
import { IDLE_TIMEOUT_MS } from "./turn_stream.js";

/** Time between looks for messages where tabs cannot share a connection. */
const POLL_MS = 5000;
const MAX_PAUSE_MS = 30_000;
/** The time after which a connection that breaks is a new matter. */
const STEADY_MS = 3000;
/** Failures that do not pass by waiting. */
const FINAL = ["absent", "gone", "refused_origin"];
/** Failures of the connection. */
const LOST = ["offline", "timeout"];

/** Follows the conversation `uuid` of `chat` until `signal` is aborted. */
export function followConversation(chat, uuid, signal) {
  const { api, environment } = chat;
  let cursor = null;
  /** When the stream has brought its first event; `Infinity` before. */
  let opened = Infinity;
  // The tab that has the stream may have passed on a message after this one has read the history.
  const join = () => void chat.refresh();
  const post = joinTabs(`rejoinder:${api.base}:${uuid}`, environment, signal, { lead: readStreams, join, receive });
  if (!post) void poll();

  /** Takes what this tab, or another that has the connection, has read. */
  function receive({ event, data, id, connection }) {
    cursor = id ?? cursor;
    if (connection) chat.setConnection(connection);
    // A new connection may have missed something, such as the end of typing: it begins with what is typed now.
    if (event === "opened") chat.setStatus({ isTyping: false });
    if (event === "opened" || event === "reset") void chat.refresh(event === "reset");
    if (event === "status") chat.setStatus({ aiEnabled: data.ai_enabled, ended: data.ended });
    if (event === "typing") chat.setStatus({ isTyping: data.typing });
    if (event === "message") chat.take([data]);
  }

  function share(message) {
    receive(message);
    post(message);
  }

  async function readStreams() {
    for (let breaks = 0; !signal.aborted; breaks += 1) {
      opened = Infinity;
      const failure = await readStream().catch((error) => error);
      if (signal.aborted || FINAL.includes(failure.code)) return;
      if (environment.now() - opened > STEADY_MS) breaks = 0;
      // The first attempt to connect again is a matter of course.
      if (LOST.includes(failure.code) && breaks > 0) share({ connection: "reconnecting" });
      // Without a stream the history is read, which shows whether the server can be reached.
      if (failure.code === "busy" || failure.code === "limit") share({ event: "opened" });
      await untilOnline(environment, backoff(environment, breaks, failure), signal);
    }
  }

  /** Reads a connection to its end; returns why it has ended. */
  async function readStream() {
    const body = await api.events(uuid, cursor, signal).catch((error) => Promise.reject(failureFrom(error)));
    try {
      for await (const { event, data, id } of readEvents(body, IDLE_TIMEOUT_MS)) {
        if (signal.aborted) break;
        share({ event, data: JSON.parse(data), id });
        if (opened < Infinity) continue;
        opened = environment.now();
        share({ event: "opened", connection: "online" });
      }
    } catch (error) {
      return error instanceof SyntaxError ? failureFrom(error) : lostConnection(error);
    }
    return new Failure("offline", "same");
  }

  async function poll() {
    for (;;) {
      await pause(POLL_MS, signal);
      if (signal.aborted) return;
      if (!environment.isHidden()) await chat.refresh();
    }
  }
}

/** Reads what is new in the conversation of `chat`: all that follows on its newest message, or the whole history. What fails for want of a
 * connection is tried again, until another call begins. */
export async function readNews(chat, isWhole) {
  const { scope, environment } = chat;
  const read = (chat.lastRead = { isWhole: isWhole || chat.lastRead.isWhole });
  for (let breaks = 0; chat.lastRead === read && !scope.aborted; breaks += 1) {
    const failure = await readPages(chat, read.isWhole).catch(failureFrom);
    if (scope.aborted) return;
    const { code, reason } = failure ?? {};
    if (code === "busy" || LOST.includes(code)) chat.setConnection("reconnecting");
    else if (reason === "message_not_found") read.isWhole = true;
    // Any other failure shows when the visitor sends a message.
    else if (code !== "limit") return void (read.isWhole = false);
    await untilOnline(environment, backoff(environment, breaks, failure), scope);
  }
}

async function readPages(chat, isWhole) {
  const { conversation, scope, log } = chat;
  for (let after = isWhole ? null : log.newest; ; ) {
    const { settled } = log;
    const { history, ai_enabled: aiEnabled, ended = false } = await chat.api.history(conversation, after, scope);
    if (scope.aborted) return;
    chat.setConnection("online");
    chat.setStatus({ aiEnabled, ended });
    chat.take(history, after === null ? settled : null);
    // The log is no measure: it does not have the reply that is awaited, nor messages of an unknown kind.
    const last = history.at(-1)?.id;
    if (after === null || !last || last === after) return;
    after = last;
  }
}

/** The time to wait before another attempt, in milliseconds. */
function backoff({ random }, breaks, failure) {
  return Math.max(Math.min(250 * 2 ** breaks, MAX_PAUSE_MS) * (0.75 + random() / 2), 1000 * failure.after);
}

/** Waits; no longer than until the browser is online again. */
async function untilOnline({ window }, milliseconds, signal) {
  const isBack = new AbortController();
  window.addEventListener("online", () => isBack.abort(), { signal: isBack.signal });
  await pause(milliseconds, AbortSignal.any([signal, isBack.signal]));
  isBack.abort();
}
