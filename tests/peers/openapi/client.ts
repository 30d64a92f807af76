// The examples of the documentation with the client that openapi-typescript and openapi-fetch make of the document. The compiler
// checks it strictly; it ends with an error if the server answers otherwise.

import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type Schemas = components["schemas"];
type Event = Schemas["Event"];

const { SERVER, KEY, ASSISTANT } = process.env;
assert(SERVER && KEY && ASSISTANT, "SERVER, KEY and ASSISTANT are set");

const client = createClient<paths, "application/json">({
  baseUrl: SERVER,
  headers: { authorization: `Bearer ${KEY}` },
});

/** What an event says, by its type. The compiler knows the data of each. */
function tell(event: Event): string {
  switch (event.type) {
    case "message.created":
      return event.data ? `${event.data.message.sender_type}: ${event.data.message.text}` : "a deleted message";
    case "message.feedback":
      return `rated ${event.data?.rating ?? "no more"}`;
    case "reply.failed":
    case "reply.discarded":
      return `no reply: ${event.data?.reason ?? "deleted"}`;
    case "conversation.created":
    case "conversation.updated":
    case "conversation.ended":
      return `${event.type} ${event.data?.conversation.id ?? ""}`;
    case "conversation.deleted":
      return `deleted ${event.data?.conversation_id ?? ""}`;
    case "balance.low":
      return `${event.data?.balance ?? ""} ${event.data?.currency ?? ""}`;
    case "webhook_endpoint.disabled":
    case "webhook_endpoint.test":
      return `${event.type} ${event.data?.webhook_endpoint_id ?? ""}`;
    default:
      return event satisfies never;
  }
}

/** Sends a message in a new conversation, and waits for its reply in the feed. */
async function sendAndWait(): Promise<string> {
  const start = await client.GET("/v1/events", { params: { query: { after: "latest" } } });
  assert(start.data, "the feed is read");
  const created = await client.POST("/v1/conversations", {
    body: { assistant_id: ASSISTANT!, type: "api", variables: { name: "Ada" }, metadata: { plan: "pro", seats: 3 } },
  });
  assert(created.data, "the conversation is created");
  const conversation = created.data.data;
  assert.deepEqual(conversation.metadata, { plan: "pro", seats: 3 });
  const sent = await client.POST("/v1/messages", {
    params: { header: { "Idempotency-Key": `${conversation.id}-1` } },
    body: { conversation_id: conversation.id, sender_id: "usr_82hd92", sender_type: "user", text: "Hello plain" },
  });
  assert(sent.data, "the message is sent");
  assert(sent.data.data.auto_reply_enqueued);
  assert.match(sent.response.headers.get("Rejoinder-Turn") ?? "", /^trn_/);
  const { id } = sent.data.data.message;
  let after = start.data.data.next_cursor;
  for (;;) {
    const page = await client.GET("/v1/events", {
      params: { query: { after, wait: 20, conversation_id: conversation.id, types: "message.created,reply.failed" } },
    });
    assert(page.data && page.data.data.items.length > 0, "the reply comes");
    after = page.data.data.next_cursor;
    for (const event of page.data.data.items) {
      assert.notEqual(event.type, "reply.failed", tell(event));
      if (event.type === "message.created" && event.data?.message.reply_to_message_id === id) {
        assert.match(tell(event), /^assistant: /);
        return conversation.id;
      }
    }
  }
}

/** Creates, changes, lists and deletes a webhook endpoint. */
async function webhookEndpoints(): Promise<void> {
  const created = await client.POST("/v1/webhook_endpoints", {
    body: { url: "https://crm.example/hooks", types: ["message.created"], description: null },
  });
  assert(created.data, "the endpoint is created");
  const { id, secret } = created.data.data;
  assert.match(secret, /^whsec_/);
  const path = { params: { path: { id } } };
  const changed = await client.PATCH("/v1/webhook_endpoints/{id}", { ...path, body: { enabled: false } });
  assert(changed.data, "the endpoint is changed");
  const reason: Schemas["DisabledReason"] | undefined = changed.data.data.disabled_reason;
  assert.equal(reason, "api");
  const listed = await client.GET("/v1/webhook_endpoints", { params: { query: { limit: 200 } } });
  assert(listed.data?.data.items.some((endpoint) => endpoint.id === id));
  const refused = await client.POST("/v1/webhook_endpoints/{id}/test", path);
  assert.equal(refused.response.headers.get("Rejoinder-Error"), "conflict");
  assert(refused.error, "a disabled endpoint is not tested");
  assert.equal(refused.error.message, "The webhook endpoint is disabled.");
  const deleted = await client.DELETE("/v1/webhook_endpoints/{id}", path);
  assert(deleted.data, "the endpoint is deleted");
}

/** An error is handled by its code. */
async function errors(): Promise<void> {
  const id = "con_00000000000000000000000000";
  const unknown = await client.GET("/v1/conversations/{id}", { params: { path: { id } } });
  switch (unknown.response.headers.get("Rejoinder-Error")) {
    case "conversation_not_found":
      assert.equal(unknown.error?.message, `Conversation not found: ${id}.`);
      // The types of openapi-fetch leave out a field that is always null.
      assert.equal((unknown.error as Schemas["PlatformError"]).data, null);
      break;
    default:
      assert.fail(`status ${unknown.response.status}`);
  }
}

/** A visitor's message, without a key. */
async function widget(): Promise<void> {
  const visitor = createClient<paths, "application/json">({ baseUrl: SERVER! });
  const created = await visitor.POST("/api/conversations", { body: { assistant_id: ASSISTANT!, variables: { name: "Ada" } } });
  assert(created.data, "the conversation is created");
  const params = { path: { uuid: created.data.conversation_id } };
  const reply = await visitor.POST("/api/conversations/{uuid}/messages", { params, body: { message: "Hello plain" } });
  assert(reply.data, "the message is answered");
  const calls: Schemas["FunctionCall"][] = reply.data.function_calls;
  assert.equal(calls.length, 0);
}

await sendAndWait();
await webhookEndpoints();
await errors();
await widget();
console.log("typescript: pass");
