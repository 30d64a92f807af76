// What is tried with each client over each route. A scenario fails by throwing.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { plans } from "./doubles.mjs";

const LONG = plans.long[0].text;
const WAIT_MS = 20_000;

/** Waits until `find` returns something. */
async function until(what, find) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const found = await find();
    if (found) return found;
    assert.ok(Date.now() < end, `waited for ${what}`);
    await sleep(5);
  }
}

const texts = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text);
const reply = (chat) => chat.messages.findLast((message) => message.role === "assistant");
/** The text of the reply: its last text part. */
const shown = (chat) => (reply(chat) ? (texts(reply(chat)).at(-1) ?? "") : "");
const metadata = (chat) => reply(chat)?.metadata;

const whenStarted = (chat) => until("the start of a reply", () => metadata(chat)?.turn_id);
const whenTextIsShown = (chat) => until("a text", () => shown(chat) !== "");

/** The chat has one question and one reply, which is the stored one. */
async function endsAsStored(chat, stored) {
  assert.equal(chat.status, "ready", chat.error?.message);
  const roles = chat.messages.map((message) => message.role);
  assert.deepEqual(roles, ["user", "assistant"]);
  assert.equal(shown(chat), stored.text);
  assert.equal(reply(chat).id, stored.id);
}

/** client.mjs makes the `context`. */
export const scenarios = {
  async text(context) {
    const chat = context.chat();
    const lengths = new Set();
    const timer = setInterval(() => lengths.add(shown(chat).length), 10);
    await chat.sendMessage({ text: "Please be long" });
    clearInterval(timer);
    await endsAsStored(chat, await context.reply());
    assert.equal(shown(chat), LONG);
    assert.ok(lengths.size > 5, `the text grew ${lengths.size} times`);
    const { turn_id, conversation_id, user_message_id } = metadata(chat);
    assert.equal(user_message_id, (await context.questions())[0].id);
    assert.equal(conversation_id, context.shownConversation);
    assert.match(turn_id, /^trn_/);
  },

  async tools(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Where is order 7? lookup" });
    await endsAsStored(chat, await context.reply());
    const call = reply(chat).parts.find((part) => part.type === "dynamic-tool");
    assert.equal(call.state, "output-available");
    assert.equal(call.toolName, "get_order_status");
    assert.deepEqual(call.input, { order_id: "7" });
    assert.deepEqual(call.output, { ok: true });
    assert.deepEqual(texts(reply(chat)), ["Let me look.", "The order has been shipped."]);
  },

  async "tool error"(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Where is it? broken" });
    await endsAsStored(chat, await context.reply());
    const call = reply(chat).parts.find((part) => part.type === "dynamic-tool");
    assert.equal(call.state, "output-error");
    assert.ok(call.errorText.length > 0);
  },

  async "failed reply"(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Please refuse" });
    assert.equal(chat.status, "error");
    assert.match(chat.error.message, /The model refused the request/);
    assert.equal((await context.questions()).length, 1);
  },

  async "error before"(context) {
    const chat = context.unknownChat();
    await chat.sendMessage({ text: "Please be plain" });
    assert.equal(chat.status, "error");
    assert.match(chat.error.message, /not found/);
  },

  async cut(context) {
    const chat = context.chat();
    context.recorder.cutsNextText = true;
    await chat.sendMessage({ text: "Please be long" });
    assert.equal(chat.status, "error", "a broken connection is no success");
    await chat.resumeStream();
    await endsAsStored(chat, await context.reply());
    assert.equal(shown(chat), LONG);
  },

  async reload(context) {
    const first = context.chat();
    const sent = first.sendMessage({ text: "Please be long" });
    await whenTextIsShown(first);
    const { turn_id } = metadata(first);
    await first.stop();
    await sent;
    const second = context.chat(first.messages.slice(0, 1), turn_id);
    await second.resumeStream();
    await endsAsStored(second, await context.reply());
    assert.equal(shown(second), LONG);
  },

  async "two tabs"(context) {
    const first = context.chat();
    const sent = first.sendMessage({ text: "Please be long" });
    await whenTextIsShown(first);
    const second = context.chat(first.messages.slice(0, 1), metadata(first).turn_id);
    await second.resumeStream();
    await sent;
    const stored = await context.reply();
    await endsAsStored(first, stored);
    await endsAsStored(second, stored);
  },

  async nothing(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Please be plain" });
    const before = structuredClone(chat.messages);
    await context.reply();
    await chat.resumeStream();
    assert.equal(chat.status, "ready", chat.error?.message);
    assert.deepEqual(chat.messages, before);
    assert.equal(context.recorder.exchanges.at(-1).response.status, 204);
  },

  async stop(context) {
    const chat = context.chat();
    const sent = chat.sendMessage({ text: "Please be long" });
    await whenTextIsShown(chat);
    const { turn_id } = metadata(chat);
    assert.equal((await context.cancel(turn_id)).status, 200);
    await sent;
    const stored = await context.reply();
    await endsAsStored(chat, stored);
    assert.equal(stored.stopped, true);
    assert.ok(LONG.startsWith(stored.text) && stored.text !== LONG, stored.text);
  },

  async "stop early"(context) {
    const chat = context.chat();
    const sent = chat.sendMessage({ text: "Please be late" });
    const turn_id = await whenStarted(chat);
    // Otherwise it depends on the time whether the stream has a round.
    await until("the first round", () => context.recorder.exchanges.at(-1).response.frames.length > 1);
    assert.equal((await context.cancel(turn_id)).status, 200);
    await sent;
    assert.equal(chat.status, "ready", chat.error?.message);
    assert.equal(shown(chat), "");
    const turn = await context.turn(turn_id);
    assert.equal(turn.state, "discarded");
  },

  async disconnect(context) {
    const chat = context.chat();
    const sent = chat.sendMessage({ text: "Please be long" });
    await whenTextIsShown(chat);
    await chat.stop();
    await sent;
    const stored = await context.reply();
    assert.equal(stored.text, LONG, "a disconnect is not a stop");
    assert.ok(LONG.startsWith(shown(chat)));
  },

  async repeat(context) {
    const chat = context.chat();
    context.recorder.cutsNextText = true;
    await chat.sendMessage({ text: "Please be long" });
    assert.equal(chat.status, "error");
    const messageId = chat.messages[0].id;
    await chat.sendMessage({ text: "Please be long", messageId });
    await endsAsStored(chat, await context.reply());
    assert.equal(shown(chat), LONG);
    // Once more, after the end.
    await chat.sendMessage({ text: "Please be long", messageId });
    await endsAsStored(chat, await context.reply());
    assert.equal((await context.questions()).length, 1, "the message is stored once");
  },

  async "second turn"(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Please be plain" });
    await context.reply();
    await chat.sendMessage({ text: "Where is order 7? lookup" });
    assert.equal(chat.status, "ready", chat.error?.message);
    assert.equal(chat.messages.length, 4);
    assert.equal(shown(chat), (await context.reply(2)).text);
  },

  /** Supported, or refused before anything is stored. */
  async regenerate(context) {
    const chat = context.chat();
    await chat.sendMessage({ text: "Please be plain" });
    await context.reply();
    await chat.regenerate();
    if (chat.status === "error") {
      assert.equal(context.recorder.exchanges.at(-1).response.status, 400);
      assert.equal((await context.questions()).length, 1);
    } else {
      assert.equal(shown(chat), plans.plain[0].text);
    }
  },
};

/** What only the SDK's own body can ask for. */
export const ONLY_DEFAULT_BODY = ["regenerate"];

export { until };
