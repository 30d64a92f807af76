//! Messages of the platform API, from their acknowledgement to the later reply.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::script::Gate;
use crate::support::server::{ASSISTANT, Setup, TEST, TestServer, WIDGET};
use crate::support::wait::wait_for;

/// Sends a message with these fields besides its sender, and returns the response's `data`.
async fn send(server: &TestServer, fields: Value) -> Value {
    let mut message = json!({ "sender_id": "usr_82hd92", "sender_type": "user" });
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = server.enqueue(message.to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["text"].as_str().unwrap()).collect()
}

both_backends!(
    async fn a_message_is_acknowledged_at_once_and_its_reply_appears_later(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Here they are.").gated_by(&gate)]);

        let sent = send(&server, json!({ "text": "Can you summarize my last 5 calls?" })).await;

        assert_eq!(sent["auto_reply_enqueued"], true);
        let con = sent["conversation_id"].as_str().unwrap();
        server.model.calls().wait_for_count(1).await;
        assert_eq!(server.messages(con).await.len(), 1, "the model has not answered");
        gate.open();
        let messages = server.wait_for_messages(con, 2).await;
        let reply = &messages[1];
        assert_eq!((&reply["text"], &reply["sender_type"]), (&json!("Here they are."), &json!("assistant")));
        assert!(reply["sender_id"].as_str().unwrap().starts_with("ast_"));
        assert_eq!(reply["reply_to_message_id"], sent["message"]["id"]);
        let events = server.wait_for_events("message.created", 2).await;
        assert_eq!(events[1]["data"], json!({ "conversation_id": con, "message": reply }));
        assert_eq!(server.balance().await, "10.00", "conversations of this API are free by default");
    }
);

both_backends!(
    async fn a_reply_lists_its_calls_in_message_and_event(db: TestDb) {
        let server = TestServer::start(&db).await;
        let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Shipped.")]);

        let sent = send(&server, json!({ "text": "Where is order 7?" })).await;

        let con = sent["conversation_id"].as_str().unwrap();
        let reply = server.wait_for_messages(con, 2).await[1].clone();
        let expected = json!([
            { "name": "get_order_status", "arguments": { "order_id": "7" }, "result": { "ok": true } }
        ]);
        assert_eq!(reply["function_calls"], expected);
        assert_eq!(server.wait_for_events("message.created", 2).await[1]["data"]["message"], reply);
    }
);

both_backends!(
    async fn quick_messages_of_one_conversation_are_answered_one_at_a_time_in_order(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server.model.script().respond_with(move |request: &ModelRequest| {
            Reply::text(&format!("re: {}", request.last_text("user").unwrap())).gated_by(&reply_gate)
        });
        let first = send(&server, json!({ "text": "one" })).await;
        let con = first["conversation_id"].as_str().unwrap();

        for text in ["two", "three"] {
            send(&server, json!({ "conversation_id": con, "text": text })).await;
        }
        server.model.calls().wait_for_count(1).await;
        gate.open();
        let messages = server.wait_for_messages(con, 6).await;

        assert_eq!(texts(&messages[..3]), ["one", "two", "three"], "a list has the order of arrival");
        assert_eq!(texts(&messages[3..]), ["re: one", "re: two", "re: three"]);
        let calls = server.model.calls();
        assert_eq!(calls.overlaps(|_| Some(())), [], "no two turns of a conversation run at once");
        let histories: Vec<Vec<_>> = calls
            .all()
            .iter()
            .map(|call| {
                let spoken = call.request.messages().iter().skip(1);
                spoken.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
            })
            .collect();
        assert_eq!(histories[0], ["one"], "later messages are not in the history");
        assert_eq!(histories[2], ["one", "re: one", "two", "re: two", "three"]);
    }
);

both_backends!(
    async fn a_reply_far_after_its_message_is_in_the_next_turns_history(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let answers = [Reply::text("re: one").gated_by(&gate), Reply::text("re: two")];
        server.model.script().queue(answers);
        let first = send(&server, json!({ "text": "one" })).await;
        let con = first["conversation_id"].as_str().unwrap();
        send(&server, json!({ "conversation_id": con, "text": "two" })).await;
        let note = json!({ "conversation_id": con, "text": "a note", "auto_reply": false });
        join_all((0..250).map(|_| send(&server, note.clone()))).await;

        gate.open();

        let calls = server.model.calls().wait_for_count(2).await;
        let spoken = calls[1].request.messages().iter().skip(1);
        let texts: Vec<_> = spoken.map(|message| message["content"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one", "re: one", "two"]);
    }
);

both_backends!(
    async fn conversations_do_not_wait_for_each_other(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Slow.").gated_by(&gate)]);

        let slow = send(&server, json!({ "text": "one" })).await;
        server.model.calls().wait_for_count(1).await;
        let quick = send(&server, json!({ "text": "two" })).await;

        let quick = quick["conversation_id"].as_str().unwrap();
        assert_eq!(server.wait_for_messages(quick, 2).await.len(), 2);
        let slow = slow["conversation_id"].as_str().unwrap();
        assert_eq!(server.messages(slow).await.len(), 1);
        gate.open();
        server.wait_for_messages(slow, 2).await;
    }
);

both_backends!(
    async fn a_message_without_auto_reply_is_free(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;

        let sent =
            send(&server, json!({ "conversation_id": con, "text": "For the record", "auto_reply": false }))
                .await;
        send(&server, json!({ "conversation_id": con, "text": "Hi" })).await;
        server.wait_for_messages(&con, 4).await;

        assert_eq!(sent["auto_reply_enqueued"], false);
        assert_eq!(server.model.calls().all().len(), 1);
        assert_eq!(server.balance().await, "9.99", "of the two, only the one that asked for a reply");
    }
);

both_backends!(
    async fn the_model_sees_agents_as_its_own_side_and_system_messages_as_instructions(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(TEST).await;
        let say = async |sender_type: &str, text: &str, auto_reply: bool| {
            let fields = json!({
                "conversation_id": con, "sender_type": sender_type, "text": text, "auto_reply": auto_reply,
            });
            send(&server, fields).await
        };

        say("agent", "A person here.", false).await;
        say("system", "Be brief.", false).await;
        let sent = say("agent", "I leave you to the assistant.", true).await;
        server.wait_for_messages(&con, 5).await;

        assert_eq!(sent["auto_reply_enqueued"], true, "a reply can be requested for every sender type");
        let request = server.model.calls().all()[0].request.clone();
        assert!(request.last_text("system").unwrap().ends_with("\n\nBe brief."), "an instruction");
        let messages: Vec<_> = request.messages()[1..]
            .iter()
            .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap()))
            .collect();
        assert_eq!(
            messages,
            [
                ("user", "(The conversation begins.)"),
                ("assistant", "Hello !\n\nA person here.\n\nI leave you to the assistant."),
                ("user", "(Please continue.)"),
            ]
        );
    }
);

both_backends!(
    async fn metadata_is_returned_as_it_was_sent(db: TestDb) {
        let server = TestServer::start(&db).await;
        let metadata = r#"{"zebra": 1, "ape":1.50,  "nested": {"b": null, "a": "é"}}"#;
        let body = format!(
            r#"{{"sender_id": "u", "sender_type": "user", "text": "Hi", "auto_reply": false, "metadata": {metadata}}}"#
        );

        let sent = server.enqueue(body).send().await;

        assert!(sent.text().contains(metadata), "{}", sent.text());
        let json = sent.json();
        let con = json["data"]["conversation_id"].as_str().unwrap();
        let listed = server.get(&format!("/v1/conversations/{con}/messages")).await;
        assert!(listed.text().contains(metadata), "{}", listed.text());
        assert!(server.get("/v1/events").await.text().contains(metadata));
    }
);

both_backends!(
    async fn a_model_error_is_an_event_and_the_next_message_is_answered(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::garbage(), Reply::text("Now I can.")]);

        let first = send(&server, json!({ "text": "one" })).await;
        let con = first["conversation_id"].as_str().unwrap();
        send(&server, json!({ "conversation_id": con, "text": "two" })).await;

        let failed = server.wait_for_events("reply.failed", 1).await;
        assert_eq!(failed[0]["data"]["reason"], "model_unreadable");
        assert_eq!(failed[0]["data"]["reply_to_message_id"], first["message"]["id"]);
        assert_eq!(texts(&server.wait_for_messages(con, 3).await), ["one", "two", "Now I can."]);
    }
);

both_backends!(
    async fn a_turn_waits_without_an_attempt_while_its_model_is_rate_limited(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").system_clock().start(&db).await;
        server.model.script().queue([Reply::rate_limited(Some("1")), Reply::text("At last.")]);

        let sent = send(&server, json!({ "text": "one" })).await;

        let con = sent["conversation_id"].as_str().unwrap();
        assert_eq!(server.wait_for_messages(con, 2).await[1]["text"], "At last.");
        assert_eq!(server.model.calls().all().len(), 2);
    }
);

both_backends!(
    async fn an_insufficient_balance_stores_the_message_without_a_reply(db: TestDb) {
        let priced = |text: String| {
            text.replace("balance = \"10.00\"", "balance = \"0.01\"\npricing = { api = \"0.01\" }")
        };
        let server = Setup::default().workspace(priced).start(&db).await;

        let paid = send(&server, json!({ "text": "one" })).await;
        let con = paid["conversation_id"].as_str().unwrap();
        server.wait_for_messages(con, 2).await;
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "two" });
        let unpaid = server.enqueue(body.to_string()).send().await;

        assert_eq!(unpaid.status, 200);
        assert_eq!(unpaid.json()["data"]["auto_reply_enqueued"], false);
        assert_eq!(unpaid.header("rejoinder-reason"), Some("insufficient_balance"));
        assert_eq!(server.messages(con).await.len(), 3);
        assert_eq!(server.balance().await, "0.00");
    }
);

both_backends!(
    async fn concurrent_requests_with_one_key_are_one_message(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" }).to_string();
        let send = async || server.enqueue(&body).header("Idempotency-Key", "order-42").send().await;

        let answers = futures::future::join_all((0..8).map(|_| send())).await;

        let firsts = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
        assert_eq!(firsts, 1);
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == answers[0].text()));
        let json = answers[0].json();
        let con = json["data"]["conversation_id"].as_str().unwrap();
        server.wait_for_messages(con, 2).await;
        assert_eq!(server.query_number("select count(*) from messages where sender_id = 'u'").await, 1);
    }
);

both_backends!(
    async fn more_open_turns_than_a_conversation_may_have_are_a_429_that_stores_nothing(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_OPEN_PER_CONVERSATION", "2").start(&db).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server.model.script().respond_with(move |_| Reply::text("Yes.").gated_by(&reply_gate));
        let con = server.conversation_id(TEST).await;
        for text in ["one", "two"] {
            send(&server, json!({ "conversation_id": con, "text": text })).await;
        }
        server.model.calls().wait_for_count(1).await;
        let before = server.row_counts().await;

        let body =
            json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "three" });
        let platform = server.enqueue(body.to_string()).send().await;
        let widget = server.post_message(TEST, "three").send().await;

        let expected = r#"{"status":"error","message":"The conversation is busy","data":null}"#;
        assert_eq!((platform.status, platform.text()), (429, expected));
        assert!(platform.header("retry-after").is_some());
        let expected = r#"{"status":false,"error":"Failed to process message: The conversation is busy"}"#;
        assert_eq!((widget.status, widget.text()), (400, expected));
        assert_eq!(widget.header("rejoinder-error"), Some("conversation_busy"));
        assert_eq!(server.row_counts().await, before);
        gate.open();
        server.wait_for_messages(&con, 5).await;
    }
);

both_backends!(
    async fn a_turn_without_a_slot_is_claimed_when_one_is_free(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_IN_FLIGHT", "2").start(&db).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server.model.script().respond_with(move |_| Reply::text("Yes.").gated_by(&reply_gate));

        // Half of the slots belong to this API.
        let first = send(&server, json!({ "text": "one" })).await;
        server.model.calls().wait_for_count(1).await;
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "two" });
        let second = server.enqueue(body.to_string()).send().await;
        let turn = second.header("rejoinder-turn").unwrap().to_owned();
        let state = async || server.get(&format!("/v1/turns/{turn}")).await.json()["data"]["state"].clone();
        assert_eq!(state().await, "queued");
        gate.open();

        wait_for("the queued turn's end", async || (state().await == "completed").then_some(())).await;
        server.wait_for_messages(first["conversation_id"].as_str().unwrap(), 2).await;
    }
);

both_backends!(
    async fn the_variables_of_a_new_conversation_are_in_the_prompt(db: TestDb) {
        let with_shop = |text: String| text.replace("of {{company}}.", "of {{company}} and {{shop}}.");
        let server = Setup::default().workspace(with_shop).start(&db).await;
        let variables = json!({ "company": "evil", "shop": "{{name}} & Sons" });
        let body = json!({ "assistant_id": ASSISTANT, "variables": variables });
        let created =
            server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body).send().await;
        let created = created.json();

        let con = created["data"]["id"].as_str().unwrap();
        send(&server, json!({ "conversation_id": con, "text": "Hi" })).await;
        server.wait_for_messages(con, 2).await;

        let prompt = server.model.calls().all()[0].request.last_text("system").unwrap();
        assert!(
            prompt.starts_with("You are the front desk of Demo Ltd and {{name}} & Sons."),
            "a variable is no template, and none of the operator's is overridden: {prompt}"
        );
    }
);
