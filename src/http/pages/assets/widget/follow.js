// Follows a conversation beside this page's own messages: those of a human or another device, and its status.
import { Failure, failureFrom, lostConnection } from "./failures.js";
import { pause, readEvents } from "./sse.js";
import { joinTabs } from "./tabs.js";
import { IDLE_TIMEOUT_MS } from "./turn_stream.js";

/** Time between looks for messages where tabs cannot share a connection. */
const POLL_MS = 5000;
const MAX_PAUSE_MS = 30_000;
/** Failures that do not pass by waiting. */
const FINAL = ["absent", "gone", "identity", "refused_origin", "suspended"];

/** Follows the conversation `uuid` of `chat` until `signal` is aborted. */
export function followConversation(chat, uuid, signal) {
  const { api, environment } = chat;
  let cursor = null;
  const post = joinTabs(`rejoinder:${api.base}:${uuid}`, environment, signal, { lead: readStreams, receive });
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
      const failure = await readStream(() => (breaks = 0)).catch((error) => error);
      if (signal.aborted || FINAL.includes(failure.code)) return;
      // Without a stream the history is read, which shows whether the server can be reached.
      if (failure.code === "limit" || failure.code === "busy") share({ event: "opened" });
      // The first attempt to connect again is a matter of course.
      else if (breaks > 0) share({ connection: "reconnecting" });
      const wait = Math.min(250 * 2 ** breaks, MAX_PAUSE_MS) * (0.75 + environment.random() / 2);
      await untilOnline(Math.max(wait, 1000 * failure.after));
    }
  }

  /** Reads a connection to its end; returns why it has ended. */
  async function readStream(onOpen) {
    const body = await api.events(uuid, cursor, signal).catch((error) => Promise.reject(failureFrom(error)));
    let isOpen = false;
    try {
      for await (const { event, data, id } of readEvents(body, IDLE_TIMEOUT_MS)) {
        if (signal.aborted) break;
        share({ event, data: JSON.parse(data), id });
        if (!isOpen) share({ event: "opened", connection: "online" });
        isOpen = true;
        onOpen();
      }
    } catch (error) {
      return error instanceof SyntaxError ? failureFrom(error) : lostConnection(error);
    }
    return new Failure("offline", "same");
  }

  /** Waits; no longer than until the browser is online again. */
  async function untilOnline(milliseconds) {
    const isBack = new AbortController();
    environment.window.addEventListener("online", () => isBack.abort(), { signal: isBack.signal });
    await pause(milliseconds, AbortSignal.any([signal, isBack.signal]));
    isBack.abort();
  }

  async function poll() {
    for (;;) {
      await pause(POLL_MS, signal);
      if (signal.aborted) return;
      if (!environment.isHidden()) await chat.refresh();
    }
  }
}

/** Reads what is new in the conversation of `chat`: all that follows on its newest message, or the whole history. */
export async function readNews(chat, isWhole) {
  const { conversation, scope, log } = chat;
  try {
    for (let after = isWhole ? null : log.newest; ; after = log.newest) {
      const { settled } = log;
      const { history, ai_enabled: aiEnabled, ended = false } = await chat.api.history(conversation, after, scope);
      if (scope.aborted) return;
      chat.setConnection("online");
      if (after === null) log.replace(history, settled);
      chat.setStatus({ aiEnabled, ended });
      chat.take(history);
      if (history.length === 0 || after === null) return;
    }
  } catch (error) {
    const failure = failureFrom(error);
    if (scope.aborted) return;
    if (["offline", "timeout", "busy"].includes(failure.code)) chat.setConnection("reconnecting");
    // Any other failure shows when the visitor sends a message.
    if (failure.reason === "message_not_found") await readNews(chat, true);
  }
}
