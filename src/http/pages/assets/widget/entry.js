// A running widget: its chat, its view, and what a page may ask of both. `loader.js` imports this file.
import { parsed } from "./api.js";
import { Chat } from "./chat.js";
import { textOfItem } from "./log.js";
import { loadTexts } from "./texts.js";
import { ChatView } from "./view_panel.js";

/** Where a floating panel leaves room for the page, so that it may open by itself. */
const WIDE = "(min-width: 640px) and (min-height: 480px)";

const FLAGS = ["open", "hidden", "sound"];
const OBJECTS = ["texts", "variables", "quickReplies"];
const OTHERS = "assistant server mode target locale theme accent position title subtitle tools zIndex identity".split(" ");

/** Attributes of an element that are no options, besides those that are its properties. */
const FOREIGN = /^(aria|class$|tabindex$|_)/;

/** The options with the types that they have here, whether they come from attributes or a call. An option without a value has its default. */
function readOptions({ options: given, host, isOn }) {
  const options = {};
  for (const [name, value] of Object.entries(given)) {
    const isForeign = (name in host && host.hasAttribute(name)) || name in host.dataset || FOREIGN.test(name);
    if (FLAGS.includes(name)) options[name] = isOn(value);
    else if (value === undefined || value === null) continue;
    else if (name === "accent" && !/^#[0-9a-f]{6}$/i.test(value)) console.warn(`Rejoinder: accent "${value}" is not #rrggbb.`);
    else if (OBJECTS.includes(name)) options[name] = objectOf(name, value);
    else if (OTHERS.includes(name)) options[name] = value;
    else if (!isForeign) console.warn(`Rejoinder: unknown option "${name}".`);
  }
  return options;
}

/** The object that an option is, or that it is as JSON. */
function objectOf(name, value) {
  const object = typeof value === "string" ? parsed(value) : value;
  if (!object) console.warn(`Rejoinder: ${name} is not JSON.`);
  return object ?? undefined;
}

/** Starts the chat of a widget of `loader.js`, as its `core`: in `host`, whose shadow root is open. `launcher` is its button, if the chat
 * is floating. `emit(event, detail)` tells the page. The loader may change `options`; `isOn` reads a flag of them. */
export async function startWidget(widget) {
  const loading = loadTexts(widget.options.locale);
  if (loading) await loading;
  if (!widget.isGone) widget.core = createCore(widget);
}

function createCore(widget) {
  const { host, launcher, emit } = widget;
  let options = readOptions(widget);
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

  function open() {
    // A chat in the page has nothing else that shows it again.
    if (!launcher) host.hidden = false;
    setOpen(true);
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
    open,
    close,
    toggle: () => setOpen(!isShown),
    send: (text) => {
      open();
      chat.send(text);
    },
    update: () => {
      options = readOptions(widget);
      chat.variables = options.variables ?? {};
      view.update(options);
      void loadTexts(options.locale)?.then((isNew) => isNew && !view.isGone && view.update(options));
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
