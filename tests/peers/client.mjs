// Runs all scenarios with one client over one route, in a process of its own. The orchestrator (peers.mjs) copies this file beside the client's
// packages; it prints the results as one line of JSON.

import { Recorder, normalized } from "./recorder.mjs";
import { ONLY_DEFAULT_BODY, scenarios, until } from "./scenarios.mjs";

const ASSISTANT = "550e8400-e29b-41d4-a716-446655440000";
const { SERVER, KEY, CLIENT, ROUTE, ONLY } = process.env;

const { Chat } = await import("@ai-sdk/react");
const Transport =
  CLIENT === "assistant-ui"
    ? (await import("@assistant-ui/react-ai-sdk")).AssistantChatTransport
    : (await import("ai")).DefaultChatTransport;

const authorization = `Bearer ${KEY}`;
const recorder = await Recorder.start(SERVER);

/** Without a key if `isPublic`. */
async function call(method, url, body, isPublic = false) {
  const headers = { "content-type": "application/json", ...(isPublic ? {} : { authorization }) };
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

/** Reads from the platform API, past the recorder. */
async function read(path) {
  return (await call("GET", `${SERVER}${path}`)).body.data;
}

function lastText(messages) {
  const last = messages.findLast((message) => message.role === "user");
  return { key: last.id, text: last.parts.map((part) => part.text ?? "").join("") };
}

/** How a route is set up in a transport; `find` returns the turn to resume. */
const ROUTES = {
  chat: () => ({ api: `${recorder.url}/api/chat` }),
  widget: ({ uuid }) => ({
    api: `${recorder.url}/api/conversations/${uuid}/messages`,
    headers: { accept: "text/event-stream" },
    prepareSendMessagesRequest: ({ messages, headers }) => {
      const { key, text } = lastText(messages);
      return { headers: { ...Object.fromEntries(new Headers(headers)), "idempotency-key": key }, body: { message: text } };
    },
    prepareReconnectToStreamRequest: () => ({ api: `${recorder.url}/api/chat/${uuid}/stream` }),
  }),
  platform: ({ id }, find) => ({
    api: `${recorder.url}/v1/messages`,
    headers: { accept: "text/event-stream", authorization },
    prepareSendMessagesRequest: ({ messages, headers }) => {
      const { key, text } = lastText(messages);
      return {
        headers: { ...Object.fromEntries(new Headers(headers)), "idempotency-key": key },
        body: { conversation_id: id, sender_id: "u", sender_type: "user", text },
      };
    },
    prepareReconnectToStreamRequest: () => ({ api: `${recorder.url}/v1/turns/${find()}/stream` }),
  }),
};

/** What a scenario works with: a new conversation, and chats in it. */
async function contextOf(name) {
  const type = ROUTE === "platform" ? "api" : "widget";
  const variables = { name: "Ada" };
  const created = await call("POST", `${SERVER}/v1/conversations`, { assistant_id: ASSISTANT, type, variables });
  const { id, widget_uuid: uuid } = created.body.data;
  let count = 0;
  const open = (conversation, messages = [], turn = undefined) => {
    const find = () => chat.messages.findLast((message) => message.metadata?.turn_id)?.metadata.turn_id ?? turn;
    const transport = new Transport(ROUTES[ROUTE](conversation, find));
    const generateId = () => `${CLIENT}-${ROUTE}-${name.replace(" ", "-")}-${++count}`;
    const chat = new Chat({ id: conversation.uuid ?? conversation.id, messages, generateId, transport });
    return chat;
  };
  const stored = async () => (await read(`/v1/conversations/${id}/messages?limit=200`)).items;
  return {
    recorder,
    // A conversation of the platform API has no UUID.
    known: [[KEY, "key"], [id, "conversation"], ...(uuid ? [[uuid, "uuid"]] : [])],
    shownConversation: ROUTE === "platform" ? id : uuid,
    chat: (messages, turn) => open({ id, uuid }, structuredClone(messages), turn),
    unknownChat: () => open({ id: "con_unknown", uuid: "00000000-0000-4000-8000-000000000000" }),
    questions: async () => (await stored()).filter((message) => message.sender_type === "user"),
    /** The stored reply to the `nth` question, once there is one. */
    reply: (nth = 1) =>
      until("the stored reply", async () => (await stored()).filter((one) => one.reply_to_message_id)[nth - 1]),
    turn: (turn) => until("the turn's end", async () => {
      const found = await read(`/v1/turns/${turn}`);
      return found.ended_at && found;
    }),
    cancel: (turn) =>
      ROUTE === "platform"
        ? call("POST", `${recorder.url}/v1/turns/${turn}/cancel`, {})
        : call("POST", `${recorder.url}/api/conversations/${uuid}/cancel`, { turn_id: turn }, true),
  };
}

const results = [];
for (const [name, run] of Object.entries(scenarios)) {
  if (ONLY && ONLY !== name) continue;
  if (ROUTE !== "chat" && ONLY_DEFAULT_BODY.includes(name)) continue;
  const context = await contextOf(name);
  recorder.take();
  recorder.cutsNextText = false;
  let failure = null;
  try {
    await run(context);
  } catch (error) {
    failure = String(error.stack ?? error);
  }
  results.push({ name, failure, exchanges: normalized(recorder.take(), context.known) });
}
console.log(JSON.stringify(results));
process.exit(0);
