// The browser, as far as the chat uses it. Tests give their own.

export function browserEnvironment() {
  const localStorage = storeOf(window);
  return {
    fetch: (...request) => fetch(...request),
    localStorage,
    // Where nothing may be stored, every request of a lock fails, too (https://w3c.github.io/web-locks/#obtain-a-lock-manager).
    locks: localStorage && navigator.locks,
    BroadcastChannel: window.BroadcastChannel,
    window,
    isHidden: () => document.hidden,
    now: () => Date.now(),
    random: () => Math.random(),
  };
}

/** The page's `localStorage`; null where the visitor has forbidden it, or in a sandbox. */
function storeOf(page) {
  try {
    return page.localStorage;
  } catch {
    return null;
  }
}
