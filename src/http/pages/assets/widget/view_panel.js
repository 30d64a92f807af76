// The chat as a visitor sees it: the panel with its header, its screens and its composer.

import { el } from "./dom.js";
import { Failure } from "./failures.js";
import { lazyPart } from "./parts.js";
import { CSS } from "./styles.js";
import { failureTexts } from "./text_format.js";
import { textsFor } from "./texts.js";
import { ComposerView } from "./view_composer.js";
import { messageMarkdown } from "./view_entry.js";
import { failureButton, newButton } from "./view_failure.js";
import { HeaderView } from "./view_header.js";
import { LogView } from "./view_log.js";
import { markLauncher, markTitle } from "./view_notice.js";
import { waitingDots } from "./view_waiting.js";

/** Where the floating panel fills the screen, and is modal. */
const FULL_SCREEN = "(max-width: 639.98px), (max-height: 479.98px)";

const extrasPart = lazyPart((suffix) => import("./extras.js" + suffix));

/** The screens of `extras.js`. */
const EXTRA_SCREENS = ["list", "form"];

export class ChatView {
  #root;
  #host;
  #chat;
  #launcher;
  #onClose;
  #isFloating;
  #frame;
  #panel;
  #header;
  #log;
  #composer;
  /** What stands in the place of the log: the list, the form, or a state. */
  #other = null;
  #otherName = "";
  #isList = false;
  #isShown = false;
  #announced = new Set();
  #status = el("p", { class: "visually-hidden", role: "status" });
  #colours = new CSSStyleSheet();
  #sheet = new CSSStyleSheet();
  #extraSheet = new CSSStyleSheet();
  #end = new AbortController();
  #timers = new Set();
  #narrow = matchMedia(FULL_SCREEN);
  #returnTo = null;
  #overflow = null;
  #unsubscribe;
  #isRunning = false;
  #phase = "";
  /** The key of the note that was announced last. */
  #lastNote = null;
  #isLoading = false;
  /** Whether the screen that should be shown could not be loaded. */
  #isLost = false;

  constructor({ root, host, chat, options, launcher = null, onClose = () => {} }) {
    this.#root = root;
    this.#host = host;
    this.#chat = chat;
    this.#launcher = launcher;
    this.#onClose = onClose;
    this.#isFloating = options.mode === "floating";
    this.#frame = this.#createFrame(options);
    this.#sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, this.#sheet, this.#extraSheet, this.#colours];
    this.#build();
    this.#listen();
    this.#applyOptions();
    this.#unsubscribe = chat.subscribe((change) => this.#onChange(change));
    this.#showState();
  }

  /** Shows the panel. A floating one takes the focus, unless `focus` is false. */
  show(focus = true) {
    if (this.#isShown) return;
    this.#isShown = true;
    if (this.#isFloating) this.#openDialog(focus);
    this.#fit();
    this.#log.scrollToEnd();
    this.#showNotices();
    this.#reportVisible();
  }

  /** Hides a floating panel, and returns the focus. */
  hide() {
    if (!this.#isShown || !this.#isFloating) return;
    const hadFocus = this.#panel.contains(this.#root.activeElement);
    this.#isShown = false;
    this.#panel.close();
    this.#lockPage(false);
    if (hadFocus) (this.#returnTo?.isConnected ? this.#returnTo : this.#launcher)?.focus({ preventScroll: true });
    this.#showNotices();
    this.#reportVisible();
  }

  get isGone() {
    return this.#end.signal.aborted;
  }

  update(options) {
    const labels = () => JSON.stringify([this.#frame.texts, this.#frame.toolMode]);
    const before = labels();
    Object.assign(this.#frame, this.#frameOf(options));
    this.#applyOptions();
    if (labels() !== before) this.#relabel();
    this.#showState();
  }

  destroy() {
    this.#unsubscribe();
    this.#end.abort();
    this.#timers.forEach(clearTimeout);
    this.#log.destroy();
    this.#lockPage(false);
    markTitle(0);
    if (this.#panel.open) this.#panel.close();
    this.#panel.remove();
    this.#launcher?.querySelector(".badge")?.remove();
    for (const name of ["mode", "theme", "position"]) delete this.#host.dataset[name];
    const ours = [this.#sheet, this.#extraSheet, this.#colours];
    this.#root.adoptedStyleSheets = this.#root.adoptedStyleSheets.filter((sheet) => !ours.includes(sheet));
  }

  /** Shows everything anew in other texts. A form keeps its values. */
  #relabel() {
    this.#log.relabel();
    this.#composer.relabel();
    if (this.#other?.relabel) this.#other.relabel();
    else if (this.#other) this.#otherName = null;
  }

  /** What every part of the view works with. */
  #createFrame(options) {
    const chat = this.#chat;
    const later = (action, delay) => this.#later(action, delay);
    const frame = {
      chat,
      later,
      focus: () => this.#focusScreen(),
      send: (text) => this.#send(text),
      extras: () => this.#extras(),
      get title() {
        return this.options.title ?? chat.state.settings?.title ?? this.texts.title;
      },
      get toolMode() {
        return this.options.tools ?? chat.state.settings?.tools ?? "label";
      },
      get quickReplies() {
        return this.options.quickReplies ?? chat.state.settings?.quick_replies ?? [];
      },
    };
    return Object.assign(frame, this.#frameOf(options));
  }

  #frameOf(options) {
    const texts = textsFor(options.locale, options.texts);
    const isPage = options.mode === "page";
    const heading = isPage ? "h2" : "h3";
    return { options, texts, isPage, heading, markdown: messageMarkdown(texts, heading, (...args) => this.#later(...args)) };
  }

  /** Runs `action` after `delay` ms, unless the view ends before. Returns what calls it off. */
  #later(action, delay) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delay);
    this.#timers.add(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }

  /** The module `extras.js`; null if it has yet to be loaded. Then shows what needs it when it has come. */
  #extras() {
    const { module } = extrasPart;
    if (!module) void this.#loadExtras();
    else if (this.#extraSheet.cssRules.length === 0) this.#extraSheet.replaceSync(module.EXTRA_CSS);
    return module;
  }

  async #loadExtras() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    const module = await extrasPart.get();
    this.#isLoading = false;
    if (this.isGone) return;
    if (module) this.#log.updateItems();
    if (!EXTRA_SCREENS.includes(this.#otherName)) return;
    this.#isLost = module === null;
    this.#renewScreen();
  }

  #renewScreen() {
    this.#otherName = null;
    this.#showState();
  }

  #build() {
    const mode = this.#frame.options.mode;
    this.#header = new HeaderView(this.#frame, {
      back: () => this.#closeList(),
      list: () => this.#openList(),
      fresh: () => void this.#chat.switchTo(""),
      close: this.#isFloating ? () => this.#onClose() : null,
    });
    this.#log = new LogView(this.#frame);
    this.#composer = new ComposerView(this.#frame);
    this.#panel = el(
      this.#isFloating ? "dialog" : "section",
      { class: `panel ${mode}`, part: "panel", "aria-labelledby": "title", tabindex: -1 },
      this.#header.element,
      this.#log.element,
      this.#composer.element,
      this.#status,
    );
    this.#root.append(this.#panel);
  }

  #listen() {
    const { signal } = this.#end;
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal });
    this.#narrow.addEventListener("change", () => this.#onNarrow(), { signal });
    window.visualViewport?.addEventListener("resize", () => this.#fit(), { signal });
    window.visualViewport?.addEventListener("scroll", () => this.#fit(), { signal });
    this.#panel.addEventListener("keydown", (event) => {
      if (!this.#isFloating || event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      event.stopPropagation();
      this.#onClose();
    });
    this.#panel.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.#onClose();
    });
  }

  #applyOptions() {
    const { options, texts } = this.#frame;
    const colour = options.accent ?? this.#chat.state.settings?.accent ?? "";
    const accent = colour && `--rejoinder-accent:${colour};`;
    const zIndex = Number.isFinite(Number(options.zIndex ?? NaN)) ? `--rejoinder-z-index:${Number(options.zIndex)};` : "";
    this.#colours.replaceSync(`:host{${accent}${zIndex}}`);
    this.#host.dataset.mode = options.mode;
    this.#host.dataset.theme = options.theme ?? "auto";
    this.#host.dataset.position = options.position ?? "end";
    this.#panel.lang = texts.language;
    this.#showNotices();
  }

  #onChange({ kind, item, delta, failure, hasEnded }) {
    if (kind === "delta") return this.#log.append(item, delta);
    if (kind === "failure") return this.#announceFailure(failure);
    if (kind === "items") this.#showItems();
    else if (kind === "item") this.#showItem(item, hasEnded);
    else if (kind === "message") this.#onMessage(item);
    else this.#showState();
  }

  #showItems() {
    this.#log.updateItems();
    this.#header.update(this.#isList);
    const last = this.#chat.state.items.at(-1);
    if (last?.sender !== "note" || last.key === this.#lastNote) return;
    this.#lastNote = last.key;
    this.#announce(this.#log.textOf(last));
  }

  #showItem(item, hasEnded) {
    this.#log.updateItem(item);
    if (hasEnded && item.progress === "stopped") this.#announce(this.#frame.texts.stopped);
  }

  /** A finished message of the other side. */
  #onMessage(item) {
    this.#log.updateItem(item);
    this.#announce(this.#log.textOf(item));
    const isSeen = this.#isShown && document.hasFocus();
    if (this.#frame.options.sound && !isSeen) void extrasPart.get().then((extras) => extras?.signalMessage(this.#frame, this.#isShown));
    this.#showNotices();
  }

  #showState() {
    const { phase, running, settings, status } = this.#chat.state;
    if (settings !== this.#frame.settings) {
      this.#frame.settings = settings;
      this.#applyOptions();
    }
    if (!this.#isRunning && running && status.aiEnabled) this.#announce(this.#frame.texts.answering);
    this.#isRunning = running !== null;
    const isOther = phase !== this.#phase;
    this.#phase = phase;
    // The list belongs to the visitor and the conversation that were there before.
    if (isOther && this.#isList) void this.#chat.list();
    this.#showScreen(this.#isList ? "list" : phase === "ready" ? "" : phase);
    this.#header.update(this.#isList);
    this.#log.updateState();
    this.#composer.update();
    if (this.#isList) this.#composer.element.hidden = true;
    this.#showNotices();
  }

  /** Shows the screen `name` in the place of the log; "" shows the log. */
  #showScreen(name) {
    if (name === this.#otherName) return this.#other?.update?.();
    const hadFocus = this.#panel.contains(this.#root.activeElement);
    this.#other?.element.remove();
    this.#otherName = name;
    this.#other = this.#createScreen(name);
    this.#log.element.hidden = name !== "";
    if (this.#other) this.#log.element.after(this.#other.element);
    else this.#log.scrollToEnd();
    if (hadFocus && this.#isShown) this.#later(() => this.#focusScreen(), 0);
  }

  #createScreen(name) {
    const { texts, chat } = this.#frame;
    if (name === "") return null;
    if (name === "failed") return this.#failedScreen(chat.state.failure, () => void chat.open(), chat.storage.read("conversation"));
    if (EXTRA_SCREENS.includes(name)) {
      if (this.#isLost) return this.#failedScreen(new Failure("defect", "same"), () => this.#renewScreen());
      const extras = this.#extras();
      if (extras) return name === "form" ? new extras.FormView(this.#frame) : new extras.ListView(this.#frame, () => this.#closeList());
    }
    return { element: el("div", { class: "screen centre" }, waitingDots(), el("p", { class: "visually-hidden" }, texts.opening)) };
  }

  /** `hasOld`: a new conversation may help. */
  #failedScreen(failure, retry, hasOld = false) {
    this.#isLost = false;
    const { title, detail } = failureTexts(this.#frame.texts, failure);
    const button = failureButton(this.#frame, failure, retry);
    this.#announce(`${title} ${detail}`);
    const words = [el("p", { class: "lead" }, title), detail ? el("p", {}, detail) : null];
    const more = hasOld && button?.dataset.action !== "new" ? newButton(this.#frame) : null;
    const element = el("div", { class: "screen centre", part: "failure", "data-code": failure.code }, words, button, more);
    return { element, focus: () => element.querySelector("button")?.focus({ preventScroll: true }) };
  }

  #openList() {
    this.#isList = true;
    void this.#chat.list();
    this.#showState();
  }

  #closeList() {
    this.#isList = false;
    this.#showState();
    this.#composer.fit();
  }

  #send(text) {
    void this.#chat.send(text);
    this.#log.scrollToEnd();
    if (!matchMedia("(pointer: coarse)").matches) this.#composer.focus();
  }

  /** Says a text to those who hear the page, together with all others of the moment: the next would take the place of one that is not read. */
  #announce(text) {
    if (this.#announced.size === 0) this.#later(() => this.#say(), 50);
    this.#announced.add(text);
  }

  #say() {
    this.#status.textContent = [...this.#announced].join("\n");
    this.#announced.clear();
  }

  #announceFailure(failure) {
    const { title, detail } = failureTexts(this.#frame.texts, failure);
    this.#announce(`${title} ${detail}`);
  }

  #openDialog(focus) {
    const before = this.#root.activeElement ?? document.activeElement;
    this.#returnTo = before && before !== document.body && before !== this.#host ? before : null;
    if (this.#narrow.matches) this.#panel.showModal();
    else this.#panel.show();
    this.#panel.setAttribute("aria-modal", String(this.#narrow.matches));
    this.#lockPage(this.#narrow.matches);
    if (focus) this.#focusScreen();
    else if (!this.#narrow.matches) {
      // A dialog takes the focus. The body cannot take it back.
      this.#root.activeElement?.blur();
      before?.focus({ preventScroll: true });
    }
  }

  /** Focuses what the visitor uses next. On a phone a field would open the keyboard, so the panel takes the focus. */
  #focusScreen() {
    const isTouch = matchMedia("(pointer: coarse)").matches;
    if (!isTouch && this.#other) this.#other.focus?.();
    else if (!isTouch && !this.#composer.element.hidden) this.#composer.focus();
    if (!this.#panel.contains(this.#root.activeElement) || isTouch) this.#panel.focus({ preventScroll: true });
  }

  /** The page behind a panel that fills the screen does not scroll. */
  #lockPage(isLocked) {
    const { style } = document.documentElement;
    if (isLocked === (this.#overflow !== null)) return;
    if (isLocked) {
      this.#overflow = style.overflow;
      style.overflow = "hidden";
    } else {
      style.overflow = this.#overflow;
      this.#overflow = null;
      if (document.documentElement.getAttribute("style") === "") document.documentElement.removeAttribute("style");
    }
  }

  #onNarrow() {
    if (!this.#isShown || !this.#isFloating) return;
    const focused = this.#root.activeElement;
    this.#panel.close();
    if (this.#narrow.matches) this.#panel.showModal();
    else this.#panel.show();
    this.#panel.setAttribute("aria-modal", String(this.#narrow.matches));
    this.#lockPage(this.#narrow.matches);
    focused?.focus({ preventScroll: true });
    this.#fit();
  }

  /** Keeps a panel that fills the screen within what the keyboard leaves of it. */
  #fit() {
    const viewport = window.visualViewport;
    const isFull = this.#isShown && this.#isFloating && this.#narrow.matches && viewport && viewport.scale === 1;
    const set = (name, value) => (isFull ? this.#panel.style.setProperty(name, `${value}px`) : this.#panel.style.removeProperty(name));
    set("--view-height", viewport?.height);
    set("--view-top", viewport?.offsetTop);
    this.#composer.fit();
  }

  #onVisibility() {
    this.#reportVisible();
    this.#showNotices();
  }

  #reportVisible() {
    this.#chat.setVisible(this.#isShown && !document.hidden);
  }

  #showNotices() {
    const { unread } = this.#chat.state;
    markLauncher(this.#launcher, this.#frame.texts, this.#isShown, unread);
    markTitle(document.hidden ? unread : 0);
  }
}
