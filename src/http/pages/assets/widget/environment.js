// The browser, as far as the chat uses it. Tests give their own.

export function browserEnvironment() {
  return {
    fetch: (...request) => fetch(...request),
    localStorage: storeOf(window),
    locks: navigator.locks,
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
