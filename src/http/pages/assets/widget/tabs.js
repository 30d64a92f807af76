// The tabs of one browser share one connection for messages: a browser opens at most six to an origin over HTTP/1.1.

/** Runs `lead` in one of the tabs with this `name` at a time, until `signal` is aborted, and `join` first in those that find it taken.
 * Passes what `post` is given to the `receive` of the others. Returns `post`; null where the browser cannot do this, as on a page without
 * TLS. */
export function joinTabs(name, { locks, BroadcastChannel }, signal, { lead, join, receive }) {
  if (!locks || !BroadcastChannel) return null;
  const channel = new BroadcastChannel(name);
  channel.addEventListener("message", ({ data }) => !signal.aborted && receive(data));
  signal.addEventListener("abort", () => channel.close(), { once: true });
  const wait = () => {
    join();
    return locks.request(name, { signal }, lead);
  };
  locks.request(name, { ifAvailable: true }, (lock) => (lock ? lead() : wait())).catch((error) => {
    if (!signal.aborted) console.error("[rejoinder]", error);
  });
  return (message) => !signal.aborted && channel.postMessage(message);
}
