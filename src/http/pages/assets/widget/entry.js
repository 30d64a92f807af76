// A running widget: its chat, its view, and what a page may ask of both. `loader.js` imports this file.
import { Chat } from "./chat.js";
import { textOfItem } from "./log.js";
import { ChatView } from "./view_panel.js";

/** Where a floating panel leaves room for the page, so that it may open by itself. */
const WIDE = "(min-width: 640px) and (min-height: 480px)";

const FLAGS = ["open", "hidden", "sound"];
const OBJECTS = ["texts", "variables", "quickReplies"];
const OTHERS = "assistant server mode target locale theme accent position title subtitle tools zIndex identity".split(" ");

/** The options with the types that they have here, whether they come from attributes or a call. */
function readOptions(given, host) {
  const options = {};
  for (const [name, value] of Object.entries(given)) {
    if (FLAGS.includes(name)) options[name] = String(value) !== "false";
    else if (OBJECTS.includes(name)) options[name] = typeof value === "string" ? JSON.parse(value) : value;
    else if (OTHERS.includes(name)) options[name] = value;
    // An element has other attributes, too.
    else if (!host.hasAttribute(name)) console.warn(`Rejoinder: unknown option "${name}".`);
  }
  return options;
}

/** Starts the chat of a widget of `loader.js`: in `host`, whose shadow root is open. `launcher` is its button, if the chat is floating.
 * `emit(event, detail)` tells the page. `given` are the options, which the loader may change. */
export function startWidget({ host, launcher, options: given, emit }) {
  let options = readOptions(given, host);
  const { server, assistant, variables, identity } = options;
  const chat = new Chat({ server, assistant, variables, identity });
  const close = () => setOpen(false);
  const view = new ChatView({ root: host.shadowRoot, host, chat, options, launcher, onClose: close });
  let isShown = false;
  let { phase, unread } = chat.state;
  chat.subscribe(onChange);
  const wasOpen = launcher && chat.storage.read("open") && matchMedia(WIDE).matches;
  // Inline and as a page, the chat is always open.
  if (!launcher || options.open || wasOpen) setOpen(true, false);
  else chat.restore();

  function setOpen(value, focus = true) {
    if (value) void chat.open();
    else if (!launcher) return;
    if (value === isShown) return;
    isShown = value;
    if (value) view.show(focus);
    else view.hide();
    chat.storage.write("open", value || null);
    emit(value ? "open" : "close");
  }

  function onChange({ kind, item, failure }) {
    if (kind === "failure") emit("error", { code: failure.code, detail: failure.detail });
    if (kind === "message") emit("message", { id: item.id, sender: item.sender, text: textOfItem(item) });
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
      if (chat.send(text)) return;
      chat.setDraft(text);
      chat.notifyState();
    },
    update: () => {
      options = readOptions(given, host);
      chat.variables = options.variables ?? {};
      view.update(options);
    },
    identify: (token) => chat.identify(token),
    reset: () => {
      close();
      chat.reset();
      if (isShown) void chat.open();
    },
    destroy: () => {
      view.destroy();
      chat.destroy();
    },
  };
}
