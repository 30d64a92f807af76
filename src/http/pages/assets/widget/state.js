// The state of the chat, which the view reads.

/**
 * @typedef {object} State
 * @property {"closed" | "opening" | "form" | "ready" | "failed"} phase `form`: the visitor fills in the form first.
 * @property {object | null} failure Of opening, or of the form's values; see `failures.js`.
 * @property {object | null} settings As the server sends them. Their `form` has the fields that the site does not fill.
 * @property {Item[]} items The messages, in order.
 * @property {{ aiEnabled: boolean, ended: boolean, isTyping: boolean }} status `isTyping`: a person of the company.
 * @property {{ turn: string | null, isStopping: boolean } | null} running A reply is being made.
 * @property {"online" | "reconnecting"} connection
 * @property {number} unread
 * @property {object[] | null} conversations `{ id, createdAt, updatedAt, preview, ended, isCurrent }`, newest first, after `chat.list()`.
 * @property {object | null} listFailure Of `chat.list()`.
 */

/**
 * @typedef {object} Item
 * @property {string} key Names it on this page.
 * @property {"visitor" | "assistant" | "agent" | "note"} sender
 * @property {string | null} id Of the message, once it is known.
 * @property {string | null} createdAt
 * @property {object[]} parts `{ kind: "text", text }` and `{ kind: "call", id, name, arguments, result, isRunning }`.
 * @property {"waiting" | "streaming" | "done" | "stopped" | "failed" | "sending"} progress
 * @property {object | null} failure
 * @property {"up" | "down" | null} feedback
 * @property {string | null} note The name of a note's text.
 */

/** Listeners hear of changes, as `{ kind }`: `state`; `items` (the list has changed); `item` with `item`, and `hasEnded` if it is a reply that
 * has ended just now; `delta` with `item` and `delta` (its last text has grown); `message` with `item` (a message of the other side is complete); `failure` with `failure`. */
export const blankState = () => ({
  status: { aiEnabled: true, ended: false, isTyping: false },
  unread: 0,
  failure: null,
  connection: "online",
  conversations: null,
  listFailure: null,
});
