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
export async function visitorsList({ api, storage, conversation }, isIdentified, signal) {
  const entries = isIdentified ? (await api.list(signal)).conversations.map(entryOf) : (storage.read("list") ?? []);
  const newest = entries.sort((one, other) => (one.updatedAt < other.updatedAt ? 1 : -1));
  return newest.map((entry) => ({ ...entry, isCurrent: entry.id === conversation }));
}

const entryOf = ({ conversation_id: id, created_at: createdAt, updated_at: updatedAt, ...rest }) => ({ id, createdAt, updatedAt, ...rest });
