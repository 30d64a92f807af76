// The visitor's conversations: of this browser, or of an identified visitor on all their devices.
import { textOfItem } from "./log.js";

/** The most conversations that a browser remembers. */
const MAX_LISTED = 20;
const MAX_PREVIEW = 120;

export const previewOf = (item) => textOfItem(item).slice(0, MAX_PREVIEW);

/** Remembers `fields` of the conversation that is shown, once the visitor has written in it; null forgets it. */
export function touchList({ storage, conversation, log, environment }, fields) {
  const listed = storage.read("list") ?? [];
  const known = listed.find(({ id }) => id === conversation);
  if (!conversation || (!known && !log.last("visitor"))) return;
  const now = new Date(environment.now()).toISOString();
  const updatedAt = known && !fields?.preview ? known.updatedAt : now;
  const entry = { id: conversation, createdAt: now, preview: "", ended: false, ...known, ...fields, updatedAt };
  const others = listed.filter(({ id }) => id !== conversation);
  storage.write("list", (fields ? [entry, ...others] : others).slice(0, MAX_LISTED));
}

/** The conversations, newest first. */
export async function visitorsList(chat, isIdentified, signal) {
  const entries = isIdentified ? (await chat.api.list(signal)).conversations.map(entryOf) : (chat.storage.read("list") ?? []);
  const isCurrent = ({ id }) => id === chat.conversation;
  return entries.map((entry) => ({ ...entry, isCurrent: isCurrent(entry) })).sort((a, b) => (a.updatedAt < b.updatedAt ? 1 : -1));
}

function entryOf({ conversation_id: id, created_at: createdAt, updated_at: updatedAt, ended, preview }) {
  return { id, createdAt, updatedAt, ended, preview };
}
