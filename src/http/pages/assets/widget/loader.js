// The script of a page: draws the launcher, and loads the chat when a visitor opens it, or where there is a conversation.
(() => {
  const script = document.currentScript;
  const source = script?.src ?? location.href;
  const WORDS = {
    en: ["Open chat", "The chat did not load.", "Try again"],
    de: ["Chat öffnen", "Der Chat lädt nicht.", "Erneut versuchen"],
  };
  /** What the names of all that the browser stores begin with. By itself it tells the other tabs of a logout. */
  const PREFIX = "rejoinder:";
  const STYLES = [
    ":host{all:initial;font:14px/1.4 system-ui,sans-serif}",
    "aside{position:fixed;z-index:var(--rejoinder-z-index,2147483000);inset-block-end:max(var(--rejoinder-offset,20px),env(safe-area-inset-bottom));inset-inline-end:var(--rejoinder-offset,20px)}",
    ":host([data-position=start]) aside{inset-inline:var(--rejoinder-offset,20px) auto}",
    ".launcher{position:relative;display:block;margin-inline-start:auto;padding:0;inline-size:var(--rejoinder-launcher,56px);aspect-ratio:1;border:1px solid transparent;border-radius:50%;--fill:var(--rejoinder-accent,light-dark(#0f5f4b,#7fd1b4));background:var(--fill);color:var(--rejoinder-accent-ink,oklch(from var(--fill) clamp(0,(.6 - l)*999,1) 0 0));box-shadow:0 6px 20px -6px #0006;cursor:pointer}",
    ".launcher[aria-busy]{opacity:.7}",
    "[hidden]{display:none!important}",
    ".launcher svg{inline-size:24px;margin:auto;display:block;fill:none;stroke:currentColor;stroke-width:1.8}",
    "aside p:not(:empty){padding:6px 12px;border-radius:8px;background:light-dark(#fff,#1d2320);color:light-dark(#18201c,#e7ebe8)}",
  ];
  /** What the browser stores; `storage.js` writes it. */
  let stored = {};
  try {
    stored = localStorage ?? stored;
  } catch {
    // The visitor has forbidden it, or the page is in a sandbox.
  }
  const events = new EventTarget();
  /** The chats of the page. */
  const widgets = new Set();
  let tries = "";
  /** The chat that `Rejoinder` speaks for, and the visitor's token, which may be set before. */
  let main = null;
  let token = null;

  /** The option of an attribute. */
  const keyOf = (name) => name.replace("data-", "").replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());

  /** The options of attributes, which begin with `prefix`. `entry.js` reads their values. */
  function optionsOf(element, prefix) {
    const options = {};
    for (const { name, value } of element?.attributes ?? "") if (name.startsWith(prefix)) options[keyOf(name)] = value;
    return options;
  }

  const isOn = (value) => String(value ?? false) !== "false";

  function make(name, attributes, ...children) {
    const element = document.createElementNS(`http://www.w3.org/${/svg|path/.test(name) ? "2000/svg" : "1999/xhtml"}`, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    element.append(...children);
    return element;
  }

  /** One chat: in an element of the page, or in one of its own. */
  class Widget {
    /** `target` hears of events, whose names have the `prefix`. */
    constructor(options, host, target, prefix) {
      const server = (options.server = (options.server ?? new URL(".", source).href).replace(/\/+$/, ""));
      const hasConversation = stored[`rejoinder:${server}:${options.assistant}::conversation`];
      Object.assign(this, { options, host, isOn });
      this.emit = (event, detail) => target.dispatchEvent(new CustomEvent(prefix + event, { detail }));
      this.root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
      widgets.add(this);
      if (options.mode === "floating") this.draw();
      (this.launcher ?? host).hidden = isOn(options.hidden);
      if (!this.launcher || isOn(options.open) || options.identity || hasConversation) this.load();
    }

    draw() {
      this.sheet = new CSSStyleSheet();
      this.sheet.replaceSync(STYLES.join(""));
      this.root.adoptedStyleSheets = [this.sheet];
      // `view_notice.js` draws another while the chat is open.
      const picture = make("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, make("path", { d: "M4 5.5h16v11H10L5.5 20v-3.5H4z" }));
      this.launcher = make("button", { class: "launcher", part: "launcher", "aria-expanded": false }, picture);
      this.launcher.onclick = () => this.call("toggle");
      this.status = make("p", { role: "status" });
      this.aside = make("aside", {}, this.status, this.launcher);
      this.paint();
      this.root.append(this.aside);
    }

    get words() {
      const { locale, texts } = this.options;
      const language = locale ?? (document.documentElement.lang || navigator.language);
      const [label, failed, retry] = WORDS[language.slice(0, 2)] ?? WORDS.en;
      return [texts?.launcher ?? label, texts?.launcherFailed ?? failed, texts?.tryAgain ?? retry];
    }

    /** Shows the options at the launcher. */
    paint() {
      const { texts, theme, position, accent, zIndex } = this.options;
      this.launcher.ariaLabel = this.words[0];
      this.aside.ariaLabel = texts?.title ?? "Chat";
      this.host.dataset.position = position;
      const { style } = this.sheet.cssRules[0];
      style.colorScheme = /light|dark/.test(theme) ? theme : "light dark";
      style.setProperty("--rejoinder-accent", /^#[\da-f]{6}$/i.test(accent) ? accent : "");
      style.setProperty("--rejoinder-z-index", isNaN(zIndex ?? NaN) ? "" : zIndex);
    }

    /** Calls a method of the core, which is loaded first. A chat that has yet to be loaded opens. */
    async call(method, value) {
      const name = this.core ? method : method.replace("toggle", "open");
      (this.core ?? (await this.load()))?.[name](value);
    }

    /** The same for a chat that is or is being loaded; another has nothing to do. */
    tell(method, value) {
      if (this.core || this.loading) this.call(method, value);
    }

    load() {
      return (this.loading ??= this.start().finally(() => (this.loading = null)));
    }

    async start() {
      const place = this.status ?? this.root;
      this.launcher?.setAttribute("aria-busy", true);
      place.replaceChildren();
      try {
        // A browser may remember that a module has failed, so another try has another address.
        const { startWidget } = await import(new URL("/*core*/" + tries, source));
        await startWidget(this);
      } catch (error) {
        tries += "?";
        reportError(error);
        const [, failed, again] = this.words;
        const retry = make("button", {}, again);
        retry.onclick = () => this.call("open");
        place.append(failed + " ", retry);
        this.emit("error", { code: "offline", detail: error.message });
      }
      this.launcher?.removeAttribute("aria-busy");
      return this.core;
    }

    set(changed) {
      for (const name in changed) {
        if (!/^(assistant|server|mode|target)$/.test(name)) this.options[name] = changed[name];
        else console.warn(`Rejoinder: ${name} needs mount.`);
      }
      if ("hidden" in changed) (this.launcher ?? this.host).hidden = isOn(changed.hidden);
      if (this.launcher) this.paint();
      this.core?.update();
    }

    /** Names the visitor by a token, or nobody. */
    identify(token) {
      this.options.identity = token;
      if (token) this.call("identify", token);
      else this.tell("identify");
    }

    reset() {
      this.host.removeAttribute("identity");
      this.options.identity = null;
      this.tell("reset");
    }

    destroy() {
      this.isGone = true;
      widgets.delete(this);
      this.core?.destroy();
      this.aside?.remove();
      this.root.adoptedStyleSheets = [];
    }
  }

  /** Replaces the chat of the page; `isScript`: only where there is none, and if the script names an assistant. */
  function mount(options, isScript) {
    const { assistant, mode = "floating", target } = options;
    if (isScript && (main || !assistant)) return;
    const place = target?.append ? target : document.querySelector(target ?? "body");
    if (!place || !assistant) throw new Error(`Rejoinder: mount needs an assistant and an element: ${target}`);
    api.destroy();
    const host = document.createElement("rejoinder-chat");
    if (!target && mode !== "floating" && place.contains(script)) script.after(host);
    else place.append(host);
    main = new Widget({ ...options, mode, identity: token }, host, events, "");
  }

  const api = {
    mount,
    close: () => main?.tell("close"),
    show: () => main?.set({ hidden: false }),
    hide: () => {
      api.close();
      main?.set({ hidden: true });
    },
    set: (options) => main?.set(options),
    identify: (identity) => {
      token = identity?.token;
      main?.identify(token);
    },
    reset: () => {
      for (const key of Object.keys(stored)) if (key.startsWith(PREFIX)) delete stored[key];
      logOut();
      stored[PREFIX] = 1;
      delete stored[PREFIX];
    },
    destroy: () => {
      main?.destroy();
      main?.host.remove();
      main = null;
    },
    on: (event, listener) => {
      const forward = ({ detail }) => listener(detail);
      events.addEventListener(event, forward);
      return () => events.removeEventListener(event, forward);
    },
  };

  /** Logs the visitor out of the chats of this page. */
  function logOut() {
    token = null;
    widgets.forEach((widget) => widget.reset());
  }

  for (const method of ["open", "toggle", "send"]) api[method] = (value) => main?.call(method, value);

  /** `<rejoinder-chat assistant="…">`: a chat that a page places by itself. */
  class ChatElement extends HTMLElement {
    static observedAttributes = ["assistant", "identity", "locale", "theme", "accent", "data-title", "subtitle", "tools", "quick-replies"];

    connectedCallback() {
      const options = { mode: "inline", ...optionsOf(this, "") };
      if (options.assistant) this.widget ??= new Widget(options, this, this, "rejoinder-");
    }

    disconnectedCallback() {
      this.widget?.destroy();
      this.widget = null;
    }

    attributeChangedCallback(name, before, now) {
      if (before === now || !this.isConnected) return;
      if (this.widget && name === "identity") return this.widget.identify(now);
      if (this.widget && name !== "assistant") return this.widget.set({ [keyOf(name)]: now });
      this.disconnectedCallback();
      this.connectedCallback();
    }
  }

  function start() {
    const calls = window.RejoinderQueue ?? [];
    const push = (...more) => more.forEach(carryOut);
    window.RejoinderQueue = { push };
    push(["mount", optionsOf(script, "data-"), true], ...calls);
  }

  /** Makes a call of the queue. One that fails does not keep the next ones. */
  function carryOut([method, ...values]) {
    try {
      api[method](...values);
    } catch (error) {
      reportError(error);
    }
  }

  if (window.Rejoinder) return window.Rejoinder.mount(optionsOf(script, "data-"), true);
  customElements.define("rejoinder-chat", ChatElement);
  window.Rejoinder = api;
  addEventListener("storage", ({ key, newValue }) => key === PREFIX && newValue && logOut());
  // A script from the cache may run before its target is there.
  if (document.readyState !== "loading") start();
  else addEventListener("DOMContentLoaded", start, { once: true });
})();
