// The script of a page: draws the launcher, and loads the chat when a visitor opens it, or where there is a conversation.
(() => {
  const script = document.currentScript;
  const source = script?.src ?? location.href;
  if (window.Rejoinder) return void window.Rejoinder.mount(optionsOf(script), true);

  const BOOLEANS = ["open", "hidden", "sound"];
  const NAMES = "assistant server mode target locale texts theme accent position title subtitle tools quickReplies variables zIndex identity".split(" ");
  const LABELS = { en: ["Chat", "Open chat", "The chat could not be loaded."], de: ["Chat", "Chat öffnen", "Der Chat konnte nicht geladen werden."] };
  const ICONS = { chat: "M4 5.5h16v11H10L5.5 20v-3.5H4z", cross: "M6 6l12 12M18 6L6 18" };
  const STYLES = `:host{all:initial;color-scheme:light dark;font:medium/1.4 system-ui,sans-serif}
:host([hidden]),[hidden]{display:none!important}
:host([data-theme=light]){color-scheme:light}:host([data-theme=dark]){color-scheme:dark}
aside{position:fixed;z-index:var(--rejoinder-z-index,2147483000);inset-block-end:max(var(--rejoinder-offset,20px),env(safe-area-inset-bottom));inset-inline-end:var(--rejoinder-offset,20px);display:flex;align-items:center;gap:8px}
:host([data-position=start]) aside{inset-inline:var(--rejoinder-offset,20px) auto}
.launcher{position:relative;display:grid;place-items:center;box-sizing:border-box;inline-size:var(--rejoinder-launcher,56px);block-size:var(--rejoinder-launcher,56px);margin:0;padding:0;border:1px solid transparent;border-radius:50%;background:var(--rejoinder-accent,light-dark(#0f5f4b,#7fd1b4));color:var(--rejoinder-accent-ink,light-dark(#fff,#08211a));box-shadow:0 6px 20px -6px rgb(0 0 0/.4);cursor:pointer}
.launcher:focus-visible{outline:2px solid var(--rejoinder-accent-text,light-dark(#0f5f4b,#7fd1b4));outline-offset:3px}
.launcher[aria-busy=true]{opacity:.7}
svg{inline-size:24px;block-size:24px;fill:none;stroke:currentColor;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
[data-open] .chat,:not([data-open])>.cross{display:none}
.badge{position:absolute;inset-block-start:-4px;inset-inline-end:-4px;min-inline-size:20px;box-sizing:border-box;padding:0 5px;border-radius:10px;background:#b3261e;color:#fff;font-size:12px;line-height:20px;text-align:center}
p{margin:0;padding:6px 12px;border-radius:8px;background:light-dark(#fff,#1d2320);color:light-dark(#18201c,#e7ebe8);box-shadow:0 2px 12px rgb(0 0 0/.25);font-size:14px}p:empty{display:none}`;

  const listeners = new Map();
  let tries = 0;
  /** The widget that `Rejoinder` speaks for, and the visitor's token, which may be set before. */
  let main = null;
  let token = null;

  /** The options that an element's attributes give, in kebab case, with or without `data-`. */
  function optionsOf(element) {
    const options = {};
    for (const { name: attribute, value } of element?.attributes ?? []) {
      const name = attribute.replace(/^data-/, "").replace(/-(\w)/g, (_, letter) => letter.toUpperCase());
      if (BOOLEANS.includes(name)) options[name] = value !== "false";
      else if (name === "variables" || name === "quickReplies" || name === "texts") options[name] = JSON.parse(value);
      else if (NAMES.includes(name)) options[name] = value;
      else if (attribute.startsWith("data-") && element === script) warn(name);
    }
    return options;
  }

  function warn(name) {
    console.warn(`Rejoinder: unknown option "${name}".`);
  }

  function checked(options) {
    for (const name of Object.keys(options)) if (!NAMES.includes(name) && !BOOLEANS.includes(name)) warn(name);
    const server = String(options.server ?? new URL(".", source)).replace(/\/+$/, "");
    return { mode: "floating", ...options, server };
  }

  function emit(event, detail) {
    for (const listener of listeners.get(event) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        // A fault of the page is the page's.
        reportError(error);
      }
    }
  }

  /** The core, once it is there. A browser remembers a module that failed, so another try has another address. */
  function loadCore() {
    tries += 1;
    return import(new URL(`/*core*/${tries > 1 ? `?${tries}` : ""}`, source));
  }

  function svgElement(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    return element;
  }

  /** One chat: in an element of the page, or in one of its own. */
  class Widget {
    core = null;
    loading = null;
    launcher = null;

    constructor(options, host, tell) {
      Object.assign(this, { options, host, tell });
      this.sheet = new CSSStyleSheet();
      this.root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
      if (options.mode === "floating") this.draw();
      const wasThere = this.launcher && stored(options, "conversation");
      if (!this.launcher || options.open || wasThere || options.identity) this.load();
    }

    draw() {
      const { options, host, root, sheet } = this;
      const language = (options.locale ?? document.documentElement.lang) || navigator.language;
      this.words = LABELS[language.slice(0, 2).toLowerCase()] ?? LABELS.en;
      const accent = /^#[0-9a-f]{6}$/i.test(options.accent) ? `:host{--rejoinder-accent:${options.accent};--rejoinder-accent-ink:#fff}` : "";
      sheet.replaceSync(STYLES + accent + (options.zIndex ? `:host{--rejoinder-z-index:${Number(options.zIndex)}}` : ""));
      root.adoptedStyleSheets = [sheet];
      Object.assign(host.dataset, { theme: options.theme ?? "auto", position: options.position ?? "end" });
      this.aside = document.createElement("aside");
      this.launcher = document.createElement("button");
      this.status = document.createElement("p");
      const attributes = { type: "button", class: "launcher", part: "launcher", "aria-expanded": false, "aria-label": options.texts?.launcher ?? this.words[1] };
      for (const [name, value] of Object.entries(attributes)) this.launcher.setAttribute(name, value);
      for (const [name, d] of Object.entries(ICONS)) {
        const picture = svgElement("svg", { viewBox: "0 0 24 24", class: name, "aria-hidden": true });
        picture.append(svgElement("path", { d }));
        this.launcher.append(picture);
      }
      this.launcher.addEventListener("click", () => this.call("toggle"));
      this.launcher.hidden = Boolean(options.hidden);
      this.aside.setAttribute("aria-label", options.texts?.title ?? this.words[0]);
      this.status.setAttribute("role", "status");
      this.aside.append(this.status, this.launcher);
      root.append(this.aside);
    }

    /** Calls a method of the core, which is loaded first. */
    call(method, ...values) {
      if (this.core) return this.core[method](...values);
      this.load().then((core) => core?.[method](...values));
    }

    load() {
      this.loading ??= this.start().finally(() => (this.loading = null));
      return this.loading;
    }

    async start() {
      this.launcher?.setAttribute("aria-busy", true);
      this.status?.replaceChildren();
      try {
        const { startWidget } = await loadCore();
        if (this.isGone) return null;
        const { host, launcher, options, tell } = this;
        return (this.core ??= startWidget({ host, launcher, options, emit: tell }));
      } catch (error) {
        console.error("[rejoinder]", error);
        this.status?.append(this.words[2]);
        this.tell("error", { code: "offline", detail: "" });
        return null;
      } finally {
        this.launcher?.removeAttribute("aria-busy");
      }
    }

    set(changed) {
      if (changed.hidden !== undefined && this.launcher) this.launcher.hidden = changed.hidden;
      if (this.core) this.core.set(changed);
      else Object.assign(this.options, changed);
    }

    destroy() {
      this.isGone = true;
      this.core?.destroy();
      this.aside?.remove();
      this.root.adoptedStyleSheets = [];
      for (const name of ["mode", "theme", "position"]) delete this.host.dataset[name];
    }
  }

  /** What the browser has of an anonymous visitor; `storage.js` writes it. */
  function stored({ server, assistant }, name) {
    try {
      return localStorage.getItem(`rejoinder:${server}:${assistant}::${name}`);
    } catch {
      return null;
    }
  }

  function mount(options, isScript) {
    if (!options.assistant || (isScript && main)) return;
    if (!document.body) return void document.addEventListener("DOMContentLoaded", () => mount(options, isScript), { once: true });
    api.destroy();
    const whole = checked({ ...(token && { identity: token }), ...options });
    const host = document.createElement("rejoinder-chat");
    const target = whole.target && (whole.target.nodeType ? whole.target : document.querySelector(whole.target));
    if (target) target.append(host);
    else if (whole.mode !== "floating" && script?.parentNode && script.parentNode !== document.head) script.after(host);
    else document.body.append(host);
    main = new Widget(whole, host, emit);
    main.isOwn = true;
  }

  const api = {
    mount,
    open: () => main?.call("open"),
    close: () => main?.core?.close(),
    toggle: () => main?.call("toggle"),
    show: () => main?.set({ hidden: false }),
    hide: () => {
      api.close();
      main?.set({ hidden: true });
    },
    send: (text) => main?.call("send", text),
    set: (options) => {
      const { server, ...changed } = checked(options);
      if (!options.mode) delete changed.mode;
      if (changed.assistant || options.server || changed.mode) mount({ ...main?.options, ...options });
      else main?.set(changed);
    },
    identify: (identity) => {
      token = identity?.token ?? null;
      if (!main) return;
      main.options.identity = token;
      if (main.core || token) main.call("identify", token);
    },
    reset: () => {
      token = null;
      if (!main) return;
      delete main.options.identity;
      const prefix = `rejoinder:${main.options.server}:${main.options.assistant}:`;
      if (main.core || Object.keys(localStorage).some((key) => key.startsWith(prefix))) main.call("reset");
    },
    destroy: () => {
      main?.destroy();
      main?.host.remove();
      main = null;
    },
    on: (event, listener) => {
      listeners.set(event, (listeners.get(event) ?? new Set()).add(listener));
      return () => listeners.get(event).delete(listener);
    },
  };

  /** `<rejoinder-chat assistant="…">`: a chat that a page places by itself. */
  class ChatElement extends HTMLElement {
    static observedAttributes = [...NAMES, ...BOOLEANS].flatMap((name) => {
      const kebab = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      return [kebab, `data-${kebab}`];
    });

    connectedCallback() {
      const options = optionsOf(this);
      const tell = (event, detail) => this.dispatchEvent(new CustomEvent(`rejoinder-${event}`, { detail }));
      if (options.assistant) this.widget = new Widget(checked({ mode: "inline", ...options }), this, tell);
    }

    disconnectedCallback() {
      this.widget?.destroy();
      this.widget = null;
    }

    attributeChangedCallback(name, before, value) {
      if (before === value || !this.isConnected || name.startsWith("data-mode") || main?.host === this) return;
      if (this.widget && !/assistant|server|mode/.test(name)) return this.widget.set(optionsOf(this));
      this.disconnectedCallback();
      this.connectedCallback();
    }
  }

  if (!customElements.get("rejoinder-chat")) customElements.define("rejoinder-chat", ChatElement);
  window.Rejoinder = api;
  const waiting = window.RejoinderQueue ?? [];
  const push = (...calls) => calls.forEach(([method, ...values]) => api[method](...values));
  window.RejoinderQueue = { push };
  mount(optionsOf(script), true);
  push(...waiting);
})();
