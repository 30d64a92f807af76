// The chat without its looks: one visitor's conversation with one assistant. `state.js` describes its state.
import { Api } from "./api.js";
import { Delivery } from "./deliver.js";
import { browserEnvironment } from "./environment.js";
import { failureFrom } from "./failures.js";
import { followConversation, readNews } from "./follow.js";
import { readIdentity } from "./identity.js";
import { previewOf, touchList, visitorsList } from "./list.js";
import { Log, newItem, textOfItem, textPart } from "./log.js";
import { newPending, storedPending, updatePending } from "./pending.js";
import { pause } from "./sse.js";
import { blankState } from "./state.js";
import { Storage } from "./storage.js";

/** The length of a message as the server counts it: code points. */
const MAX_LENGTH = 2000;

export class Chat {
  log = new Log();
  running = null;
  conversation = null;
  /** The state that the view reads, except what follows from other fields. */
  viewState = { settings: null, ...blankState() };
  /** Messages of the assistant that came while it is unknown whether they are the reply that is awaited. */
  deferredReplies = [];
  /** The newest call of `readNews`; `isWhole`: it has yet to read the whole history. */
  lastRead = { isWhole: false };
  #phase = "closed";
  #listeners = new Set();
  #life = new AbortController();
  #scope = new AbortController();
  #identity = null;
  #isVisible = false;
  /** A text to send once a conversation is open. */
  #queued = null;
  /** The conversation that was shown before, if it no longer exists. */
  #lost = null;
  #mayBegin = false;

  constructor({ server, assistant, variables = {}, identity = null, environment = browserEnvironment() }) {
    Object.assign(this, { server, assistant, variables, environment });
    this.#setIdentity(identity && readIdentity(identity));
    const { signal } = this.#life;
    environment.window.addEventListener("storage", ({ key }) => this.#onStored(key), { signal });
    environment.window.addEventListener("online", () => this.#onOnline(), { signal });
    // A page that the browser keeps for "back" has no connections.
    environment.window.addEventListener("pagehide", ({ persisted }) => persisted && this.#enter("closed"), { signal });
    environment.window.addEventListener("pageshow", ({ persisted }) => persisted && this.#continue(), { signal });
  }

  get state() {
    const running = this.running?.state ?? null;
    return { phase: this.#phase, items: this.log.items, running, ...this.viewState };
  }

  get draft() {
    return this.storage.read("draft") ?? "";
  }

  /** Ends what belongs to the conversation that is shown. */
  get scope() {
    return this.#scope.signal;
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(change) {
    for (const listener of this.#listeners) listener(change);
  }

  notifyState(fields = {}) {
    Object.assign(this.viewState, fields);
    this.notify({ kind: "state" });
  }

  /** Shows the visitor's conversation; does nothing if it is shown. Where there is none, starts one if it `mayBegin`. */
  async open(mayBegin = true) {
    this.#mayBegin ||= mayBegin;
    if (this.#phase !== "closed" && this.#phase !== "failed") return;
    this.#enter("opening");
    await this.#attempt(async (scope) => {
      this.viewState.settings ??= this.#settingsOf((await this.api.settings(scope)).assistant);
      const uuid = this.storage.read("conversation") ?? (await this.#newestOfVisitor(scope));
      if (scope.aborted || (uuid && (await this.#show(uuid, scope)))) return;
      if (!this.#mayBegin) this.#setPhase("closed");
      else if (this.#form.length > 0 && !this.storage.read("form")) this.#setPhase("form");
      else await this.#begin(scope);
    });
  }

  /** Shows the conversation that the visitor has left, if there is one. */
  restore() {
    if (this.#identity || this.storage.read("conversation")) void this.open(false);
  }

  /** Starts the conversation with the values of the form, by variable. */
  async submitForm(values) {
    this.storage.write("form", values);
    await this.#attempt((scope) => this.#begin(scope));
  }

  /** Sends a message; before the conversation is open, as soon as it is. One that cannot be sent now becomes the end of the draft. */
  send(text) {
    const message = String(text).trim();
    if ([...message].length > MAX_LENGTH || this.running || this.#queued) return this.#addDraft(message);
    if (message === "") return;
    if (this.draft.trim() === message) this.setDraft("");
    if (this.#phase === "ready" && !this.viewState.status.ended) return this.#deliver(this.#pushVisitor(message), newPending(this, message));
    this.#queued = message;
    void (this.#phase === "ready" ? this.switchTo("") : this.open());
  }

  /** Sends a message again that has failed. */
  retry(item) {
    const { failure, pending } = item;
    if (this.running || !failure?.retry) return;
    // The server repeats a definite answer for the same key, so a real retry needs a new one.
    if (failure.retry === "new") this.#deliver(item, newPending(this, textOfItem(item)));
    else if (pending) this.#deliver(item, pending);
    else {
      this.notify({ kind: "item", item: Object.assign(item, { progress: "done", failure: null }) });
      void this.refresh().then(() => this.#join());
    }
  }

  stop() {
    if (this.running && !this.running.isStopping) void this.running.stop();
  }

  async rate(item, rating) {
    const { scope } = this;
    const before = item.feedback;
    const show = (feedback) => this.notify({ kind: "item", item: Object.assign(item, { feedback }) });
    show(rating);
    try {
      await this.api.rate(this.conversation, item.id, rating, scope);
    } catch (error) {
      if (scope.aborted) return;
      show(before);
      this.notify({ kind: "failure", failure: failureFrom(error) });
    }
  }

  /** Shows another conversation; "" starts one. A message that is not sent becomes the end of the draft. */
  async switchTo(uuid) {
    const before = this.conversation;
    const unsent = this.log.items.findLast(({ progress }) => progress === "failed" || progress === "sending");
    if (unsent && !this.#queued) this.#addDraft(textOfItem(unsent));
    this.storage.write("conversation", uuid);
    this.storage.write("pending", null);
    this.#setPhase("closed");
    await this.open();
    // Without a new one, the earlier one is still theirs.
    if (before && this.#phase === "failed" && !uuid) this.storage.write("conversation", before);
  }

  /** Reads the visitor's conversations. */
  async list() {
    const { scope } = this;
    this.notifyState({ listFailure: null });
    try {
      const conversations = await visitorsList(this, this.#identity !== null, scope);
      if (!scope.aborted) this.notifyState({ conversations });
    } catch (error) {
      if (scope.aborted) return;
      const listFailure = failureFrom(error);
      this.notifyState({ listFailure, conversations: null });
      this.notify({ kind: "failure", failure: listFailure });
    }
  }

  /** Names the visitor by a JWT of the site, or nobody (null). Another visitor has conversations of their own. */
  identify(token) {
    const identity = token ? readIdentity(token) : null;
    const isSame = identity?.subject === this.#identity?.subject;
    const hasLapsed = this.#phase === "failed" || this.#isExpired;
    this.#setIdentity(identity, isSame);
    if (isSame && !hasLapsed) return;
    this.#enter("closed");
    this.#continue();
  }

  /** Forgets the visitor. `loader.js` removes what this browser has of them. */
  reset() {
    this.#queued = null;
    this.#mayBegin = false;
    this.#setIdentity(null);
    this.#enter("closed");
  }

  /** Whether the visitor sees the messages: those that are there are read. */
  setVisible(isVisible) {
    this.#isVisible = isVisible;
    if (isVisible && this.#phase === "ready") this.#markSeen();
  }

  setDraft(text) {
    if (text !== this.draft) this.storage.write("draft", text === "" ? null : text);
  }

  destroy() {
    this.#life.abort();
    this.#scope.abort();
    this.#listeners.clear();
  }

  setConnection(connection) {
    if (connection !== this.viewState.connection) this.notifyState({ connection });
  }

  setStatus(fields) {
    const before = this.viewState.status;
    const status = { ...before, ...fields };
    if (Object.keys(status).every((name) => status[name] === before[name])) return;
    if (this.#phase === "ready") {
      if (status.ended && !before.ended) this.#note("ended");
      else if (status.aiEnabled !== before.aiEnabled) this.#note(status.aiEnabled ? "ai_resumed" : "ai_paused");
    }
    if (status.ended) touchList(this, { ended: true });
    this.notifyState({ status });
  }

  setRunning(delivery) {
    this.running = delivery;
    this.notifyState();
  }

  /** Takes messages that were read from the server. They are the whole history if `settled` is given; see `Log.replace`. */
  take(entries, settled = null) {
    const awaitsReply = this.running !== null && this.running.reply.item.id === null;
    const isReply = (entry) => awaitsReply && !settled && entry.sender_type === "assistant";
    this.deferredReplies.push(...entries.filter(isReply));
    const fresh = settled ? this.log.replace(entries, settled) : this.log.add(entries.filter((entry) => !isReply(entry)));
    if (settled || entries.length > 0) this.notify({ kind: "items" });
    // The reply that is awaited may be in a whole history. It is announced when it has ended.
    fresh.filter(({ sender }) => sender === "agent" || (sender === "assistant" && !awaitsReply)).forEach((item) => this.announce(item));
    // A message that is seen may have had no id before.
    if (this.#isVisible) this.#markSeen();
    if (fresh.length > 0 && this.viewState.status.isTyping) this.setStatus({ isTyping: false });
    this.#reconcileFailed();
    if (fresh.at(-1)?.sender === "visitor" && this.#phase === "ready") void this.#join();
  }

  releaseDeferred() {
    this.take(this.deferredReplies.splice(0));
  }

  /** A finished message of the other side: counts it as unread unless it is seen. */
  announce(item) {
    touchList(this, { preview: previewOf(item) });
    if (this.#isVisible) this.#markSeen();
    else this.notifyState({ unread: this.viewState.unread + 1 });
    this.notify({ kind: "message", item });
  }

  /** Reads the messages and the status that are new on the server; with `isWhole`, the history from its end. */
  async refresh(isWhole = false) {
    if (this.#phase === "ready") await readNews(this, isWhole);
  }

  /** Shows that a delivery has failed, or sends its message in a new conversation if the old one no longer exists. */
  fail(delivery, failure) {
    const { item, pending, reply } = delivery;
    reply.remove();
    this.releaseDeferred();
    if (failure.code === "gone") return void this.#resend(delivery);
    // It shows again after a reload.
    if (failure.retry !== "same") updatePending(this.storage, pending, { ...pending, failure });
    if (item) this.notify({ kind: "item", item: Object.assign(item, { progress: "failed", failure, pending }) });
    this.notify({ kind: "failure", failure });
    this.#reconcileFailed();
  }

  /** `isSame`: the visitor stays the same, and so does what is stored of them, which may be in memory only. */
  #setIdentity(identity, isSame = false) {
    const { server, assistant, environment } = this;
    this.#identity = identity;
    const { fetch } = environment;
    if (this.api) this.api.token = identity?.token ?? null;
    else this.api = new Api({ server, assistant, fetch, token: identity?.token ?? null });
    if (!isSame) this.storage = new Storage(environment.localStorage, server, assistant, identity?.subject ?? "");
  }

  /** Whether the identified visitor's token no longer holds. */
  get #isExpired() {
    return this.#identity !== null && this.#identity.expires <= this.environment.now();
  }

  get #form() {
    return this.viewState.settings?.form ?? [];
  }

  /** The settings as the view needs them: the form has the fields that the site does not fill. */
  #settingsOf(settings) {
    return { ...settings, form: settings.form.filter(({ variable }) => !(variable in this.variables)) };
  }

  async #newestOfVisitor(scope) {
    if (!this.#identity) return null;
    const { conversations } = await this.api.list(scope);
    return conversations.find(({ ended }) => !ended)?.conversation_id ?? null;
  }

  async #attempt(action) {
    const { scope } = this;
    try {
      await action(scope);
    } catch (error) {
      if (scope.aborted) return;
      const failure = failureFrom(error);
      const isForm = failure.code === "invalid" && this.#form.length > 0;
      if (isForm) this.storage.write("form", null);
      this.#addDraft(this.#queued);
      this.#queued = null;
      this.viewState.failure = failure;
      this.#setPhase(isForm ? "form" : "failed");
      this.notify({ kind: "failure", failure });
    }
  }

  /** Shows the conversation `uuid`; false if it no longer exists. */
  async #show(uuid, scope) {
    this.conversation = uuid;
    let body;
    let answer;
    try {
      // The stream is opened before the history is read, so a turn that ends in between is in the history.
      body = await this.api.resume(uuid, scope);
      answer = await this.api.history(uuid, null, scope);
    } catch (error) {
      if (error.code !== "gone" || scope.aborted) throw error;
      await this.#forget(scope);
      return scope.aborted;
    }
    if (scope.aborted) return true;
    this.#become(uuid, answer);
    this.#resumeDelivery(body);
    return true;
  }

  /** The stored conversation no longer exists. Its message without a reply is sent in the next. */
  async #forget(scope) {
    // The server knows none of the visitor's conversations if their token is not valid, and then refuses the list.
    if (this.#identity) await this.api.list(scope);
    if (scope.aborted) return;
    const pending = this.storage.read("pending");
    if (pending) this.#queued ??= pending.text;
    this.storage.write("pending", null);
    touchList(this, null);
    this.#lost = this.conversation;
    this.conversation = null;
  }

  /** Starts a conversation, in one tab at a time: the next shows what the first has started. */
  async #begin(scope) {
    const { locks } = this.environment;
    if (locks) await locks.request(this.storage.prefix, { signal: scope }, () => this.#beginAlone(scope));
    else await this.#beginAlone(scope);
  }

  async #beginAlone(scope) {
    const started = this.storage.read("conversation");
    if (started && started !== this.#lost && (await this.#show(started, scope))) return;
    const filled = Object.entries(this.storage.read("form") ?? {}).filter(([name]) => this.#form.some(({ variable }) => variable === name));
    const variables = { ...Object.fromEntries(filled), ...this.variables };
    const { conversation_id: uuid, history } = await this.api.begin(variables, scope);
    if (scope.aborted) return;
    this.storage.write("seen", null);
    this.#become(uuid, { history, ai_enabled: true });
    this.#sendQueued();
    // Another process sees what is stored a moment later.
    await pause(50, scope);
  }

  #become(uuid, { history, ai_enabled: aiEnabled, ended = false }) {
    this.conversation = uuid;
    this.storage.write("conversation", uuid);
    this.log.replace(history);
    // The visitor has seen what stands before their own message.
    const isSeen = (item) => item.sender === "visitor" || item.id === this.storage.read("seen");
    const seen = this.log.items.findLastIndex(isSeen);
    const unread = seen < 0 ? 0 : this.log.items.length - 1 - seen;
    Object.assign(this.viewState, { unread, failure: null, status: { aiEnabled, ended, isTyping: false } });
    touchList(this, { ended });
    this.#setPhase("ready");
    if (this.#lost) this.#note("new_conversation");
    this.#lost = null;
    this.notify({ kind: "items" });
    if (this.#isVisible) this.#markSeen();
    followConversation(this, uuid, this.scope);
  }

  /** Shows the turn that is running, from its start, and sends a message again that has no reply. Its key keeps the server from taking it
   * twice. */
  #resumeDelivery(body) {
    const { pending, item } = storedPending(this);
    const failure = pending?.failure;
    if (!pending || (failure && body)) this.storage.write("pending", null);
    else {
      const shown = item ?? this.#pushVisitor(pending.text);
      if (!failure) {
        void body?.cancel();
        return this.#deliver(shown, pending);
      }
      this.notify({ kind: "item", item: Object.assign(shown, { progress: "failed", failure, pending }) });
    }
    if (body) this.#deliver(this.log.last("visitor") ?? null, null, body);
    else this.#sendQueued();
  }

  /** Shows the reply to a message that another tab or device has sent. */
  async #join() {
    const { scope } = this;
    if (this.running || scope.aborted || this.environment.isHidden()) return;
    try {
      const body = await this.api.resume(this.conversation, scope);
      if (!body) return;
      if (scope.aborted || this.running) void body.cancel();
      else this.#deliver(this.log.last("visitor"), null, body);
    } catch (error) {
      // The reply then comes as a message.
      if (!scope.aborted) failureFrom(error);
    }
  }

  #deliver(item, pending, body = null) {
    if (pending) this.storage.write("pending", pending);
    touchList(this, item ? { preview: previewOf(item) } : {});
    void new Delivery(this, item, pending, body).run().then(() => this.#sendQueued());
  }

  /** Sends the message of a delivery in a new conversation, because the old one no longer exists. */
  async #resend(delivery) {
    const { scope } = this;
    try {
      await this.#forget(scope);
    } catch (error) {
      if (!scope.aborted) this.fail(delivery, failureFrom(error));
      return;
    }
    if (scope.aborted) return;
    this.#queued = delivery.pending?.text ?? this.#queued;
    await this.switchTo("");
  }

  #sendQueued() {
    const text = this.#queued;
    this.#queued = null;
    if (text !== null) this.send(text);
  }

  /** Makes a text that is not sent the end of the draft. */
  #addDraft(text) {
    this.setDraft([this.draft, text].filter(Boolean).join("\n"));
    this.notifyState();
  }

  #pushVisitor(text) {
    const item = this.log.push(newItem("visitor", { parts: [textPart(text)], progress: "sending" }));
    this.notify({ kind: "items" });
    return item;
  }

  #note(note) {
    this.log.push(newItem("note", { note }));
    this.notify({ kind: "items" });
  }

  /** A message that failed for want of a connection has its reply after all. */
  #reconcileFailed() {
    const item = this.log.last("visitor");
    if (item?.failure?.retry !== "same" || !this.log.isAnswered(item)) return;
    updatePending(this.storage, item.pending, null);
    this.notify({ kind: "item", item: Object.assign(item, { progress: "done", failure: null }) });
  }

  #markSeen() {
    const newest = this.log.items.findLast((item) => item.id !== null);
    if (newest) this.storage.write("seen", newest.id);
    if (this.viewState.unread > 0) this.notifyState({ unread: 0 });
  }

  #setPhase(phase) {
    this.#phase = phase;
    this.notifyState();
  }

  /** Shows what belongs to the visitor, as before. */
  #continue() {
    if (this.#mayBegin) void this.open();
    else this.restore();
  }

  /** Ends what belongs to the conversation that was shown. */
  #enter(phase) {
    this.lastRead = { isWhole: false };
    this.#scope.abort();
    this.#scope = new AbortController();
    this.running = null;
    this.deferredReplies = [];
    this.log = new Log();
    this.conversation = null;
    Object.assign(this.viewState, blankState());
    this.#setPhase(phase);
    this.notify({ kind: "items" });
  }

  #onOnline() {
    if (this.#phase === "failed" && this.viewState.failure.code === "offline") void this.open();
    const item = this.log.last("visitor");
    if (item?.failure?.code === "offline") this.retry(item);
  }

  /** Another tab has changed what is stored. */
  #onStored(key) {
    const name = this.storage.nameOf(key);
    if (name === "draft") this.notifyState();
    if (name === "seen") this.notifyState({ unread: 0 });
    if (name !== "conversation" || this.#phase === "closed") return;
    const uuid = this.storage.read("conversation");
    // Without one, that tab is about to begin another, or to log out.
    if (!uuid || uuid === this.conversation) return;
    this.#enter("closed");
    this.#continue();
  }
}
