// A running widget: its chat, its view, and what a page may ask of both. `loader.js` imports this file.
import { Chat } from "./chat.js";
import { ChatView } from "./view_panel.js";

/** Where a floating panel leaves room for the page, so that it may open by itself. */
const WIDE = "(min-width: 640px) and (min-height: 480px)";

/** Starts a chat in `host`, an element whose shadow root is open. `launcher`: its button, if the chat is floating. `emit(event, detail)`
 * tells the page. */
export function startWidget({ host, launcher, options, emit }) {
  const { server, assistant, variables, identity } = options;
  const chat = new Chat({ server, assistant, variables, identity });
  const close = () => setOpen(false);
  const view = new ChatView({ root: host.shadowRoot, host, chat, options, launcher, onClose: close });
  let isShown = false;
  let { phase, unread } = chat.state;
  chat.subscribe(onChange);
  const wasOpen = chat.storage.read("open") && matchMedia(WIDE).matches;
  if (!launcher || options.open || wasOpen) setOpen(true, false);
  else chat.restore();

  function setOpen(value, focus = true) {
    if (value) void chat.open();
    if (value === isShown) return;
    isShown = value;
    if (value) view.show(focus);
    else view.hide();
    if (launcher) chat.storage.write("open", value || null);
    emit(value ? "open" : "close");
  }

  function onChange({ kind, item, failure }) {
    if (kind === "failure") emit("error", { code: failure.code, detail: failure.detail });
    if (kind === "message") emit("message", { id: item.id, sender: item.sender, text: item.parts.findLast((part) => part.text)?.text ?? "" });
    if (kind !== "state") return;
    const { state } = chat;
    if (state.unread !== unread) emit("unread", { count: state.unread });
    if (state.phase === "ready" && phase !== "ready") emit("ready");
    ({ phase, unread } = state);
  }

  return {
    open: () => setOpen(true),
    close,
    toggle: () => setOpen(!isShown),
    send: (text) => {
      setOpen(true);
      if (!chat.send(text)) chat.setDraft(text);
    },
    set: (changed) => {
      Object.assign(options, changed);
      if (changed.variables) chat.variables = changed.variables;
      view.update(options);
    },
    identify: (token) => chat.identify(token),
    reset: () => {
      if (launcher) close();
      chat.reset();
      if (isShown) void chat.open();
    },
    destroy: () => {
      view.destroy();
      chat.destroy();
    },
  };
}
