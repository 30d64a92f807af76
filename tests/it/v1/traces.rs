//! The trace of a message.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

async fn trace(server: &TestServer, message: &Value) -> Value {
    let answer = server.get(&format!("/v1/messages/{}/trace", message.as_str().unwrap())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// The ids of the messages of this sender type in the contract's conversation.
async fn ids(server: &TestServer, sender_type: &str) -> Vec<Value> {
    let con = server.conversation_id(WIDGET).await;
    let messages = server.messages(&con).await;
    let of_kind = messages.iter().filter(|message| message["sender_type"] == sender_type);
    of_kind.map(|message| message["id"].clone()).collect()
}

fn order(id: &str) -> ToolCall {
    ToolCall::new("get_order_status", &json!({ "order_id": id }))
}

both_backends!(
    async fn a_reply_with_tools_is_explained_round_by_round(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let broken = ToolCall::with_text("get_order_status", "{broken");
        server.model.script().queue([
            Reply::tool_calls([order("7"), broken, ToolCall::new("send_rocket", &json!({}))]),
            Reply::text("Shipped."),
        ]);
        let response = server.post_message(WIDGET, "Where is order 7?").send().await;

        let question = ids(&server, "user").await.pop().unwrap();
        let trace_body = trace(&server, &question).await;

        let turn = response.header("rejoinder-turn").unwrap();
        assert_eq!(
            (&trace_body["turn"]["id"], &trace_body["turn"]["state"]),
            (&json!(turn), &json!("completed"))
        );
        assert_eq!(
            (&trace_body["turn"]["api"], &trace_body["turn"]["takeovers"]),
            (&json!("widget"), &json!(0))
        );
        let [first, last] = &trace_body["rounds"].as_array().unwrap()[..] else { panic!("{trace_body}") };
        assert_eq!((&first["model"], &first["connection"]), (&json!("fake"), &json!("default")));
        assert_eq!((&first["number"], &first["attempt"]), (&json!(0), &json!(1)));
        assert_eq!((&last["text"], &last["calls"]), (&json!("Shipped."), &json!([])));
        assert!(last["duration_ms"].is_u64() && last["ended_at"].is_string(), "{last}");

        let [good, unreadable, unknown] = &first["calls"].as_array().unwrap()[..] else { panic!("{first}") };
        let sent = &server.tool.calls().all()[0].request;
        assert_eq!(good["id"], sent.headers["idempotency-key"].to_str().unwrap());
        assert_eq!(
            (&good["arguments"], &good["result"]),
            (&json!({ "order_id": "7" }), &json!({ "ok": true }))
        );
        assert!(good["duration_ms"].is_u64() && good["started_at"].is_string(), "{good}");
        assert_eq!(unreadable["arguments"], json!({}));
        assert!(unreadable["result"]["error"].as_str().unwrap().contains("not valid JSON"), "{unreadable}");
        assert!(unknown["result"]["error"].as_str().unwrap().contains("There is no tool"), "{unknown}");

        let usage = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"];
        for tokens in usage {
            let sum = first[tokens].as_i64().unwrap() + last[tokens].as_i64().unwrap();
            assert_eq!(trace_body["totals"][tokens], sum, "{tokens}");
        }
        let totals = &trace_body["totals"];
        assert_eq!(
            (&totals["rounds"], &totals["calls"], &totals["price"]),
            (&json!(2), &json!(3), &json!("0.01"))
        );

        let reply = ids(&server, "assistant").await.pop().unwrap();
        assert_eq!(trace(&server, &reply).await, trace_body, "the reply's trace is the same");
        let mut of_turn = server.get(&format!("/v1/turns/{turn}")).await.json()["data"].clone();
        assert_eq!(of_turn["rounds"].take(), trace_body["rounds"]);
        assert_eq!(of_turn["totals"].take(), trace_body["totals"]);
        let results = response.json()["function_calls"].clone();
        let traced = first["calls"].as_array().unwrap().iter().map(|call| &call["result"]);
        assert!(traced.eq(results.as_array().unwrap().iter().map(|call| &call["result"])), "{results}");
    }
);

both_backends!(
    async fn a_trace_shows_retries_and_fallbacks(db: TestDb) {
        let fallback = "tools = [\"availability\", \"booking\", \"cancelling\", \"orders\", \"notes\"]";
        let edit = move |text: String| {
            let with = "fallbacks = [{ connection = \"backup\", model = \"second\" }]";
            text.replace(fallback, &format!("{fallback}\n{with}"))
        };
        let server = Setup::default()
            .env("REJOINDER_TURN__MAX_ATTEMPTS", "3")
            .env("REJOINDER_CONNECTIONS__BACKUP__BASE_URL", "http://127.0.0.1:9/v1")
            .system_clock()
            .workspace(edit)
            .start(&db)
            .await;
        let unavailable = http::StatusCode::SERVICE_UNAVAILABLE;
        server.model.script().queue([
            Reply::tool_calls([order("7")]),
            // The fallback fails too, so the attempt fails and the next one continues from the journal.
            Reply::error(unavailable, "busy"),
            Reply::text("Shipped."),
        ]);
        let response = server.post_message(WIDGET, "Where is order 7?").send().await;
        assert_eq!(response.status, 200, "{}", response.text());

        let trace_body = trace(&server, &ids(&server, "user").await.pop().unwrap()).await;

        assert_eq!(trace_body["turn"]["attempts"], 1);
        let attempts: Vec<_> =
            trace_body["rounds"].as_array().unwrap().iter().map(|round| &round["attempt"]).collect();
        assert_eq!(attempts, [1, 2]);
        assert_eq!(trace_body["rounds"][0]["calls"][0]["attempt"], 1);
        assert_eq!(server.tool.calls().all().len(), 1);
    }
);

both_backends!(
    async fn the_trace_of_a_running_turn_is_partial(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.tool.script().queue([ToolReply::json(&json!({ "ok": true })).gated_by(&gate)]);
        server.model.script().queue([Reply::tool_calls([order("7")]), Reply::text("Shipped.")]);
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Where is it?" });
        let sent = server.enqueue(body.to_string()).send().await.json();
        let message = sent["data"]["message"]["id"].clone();
        server.tool.calls().wait_for_count(1).await;

        let open = trace(&server, &message).await;
        gate.open();
        let ended = async || {
            let trace_body = trace(&server, &message).await;
            (trace_body["turn"]["state"] == "completed").then_some(trace_body)
        };
        let ended = wait_for("the turn's end", ended).await;

        assert_eq!((&open["turn"]["state"], &open["totals"]["rounds"]), (&json!("running"), &json!(1)));
        let call = &open["rounds"][0]["calls"][0];
        assert!(call["started_at"].is_string() && call.get("ended_at").is_none(), "{call}");
        assert!(call.get("result").is_none() && call.get("duration_ms").is_none(), "{call}");
        assert_eq!(ended["rounds"][0]["calls"][0]["result"], json!({ "ok": true }));
    }
);

both_backends!(
    async fn the_trace_of_a_failed_turn_shows_the_reason_and_refund(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::tool_calls([order("7")]), Reply::garbage()]);
        let response = server.post_message(WIDGET, "Where is order 7?").send().await;
        assert_eq!(response.status, 400);

        let trace_body = trace(&server, &ids(&server, "user").await.pop().unwrap()).await;

        let turn = &trace_body["turn"];
        assert_eq!((&turn["state"], &turn["reason"]), (&json!("failed"), &json!("model_unreadable")));
        assert_eq!((&turn["price"], &trace_body["totals"]["price"]), (&json!("0.01"), &json!("0.00")));
        assert_eq!(
            trace_body["rounds"].as_array().unwrap().len(),
            1,
            "an unreadable answer is not journaled"
        );
    }
);

both_backends!(
    async fn a_message_without_reply_has_an_empty_trace_and_an_unknown_one_is_a_404(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "For the record").await;
        let message = server.messages(&con).await[0]["id"].clone();

        let trace_body = trace(&server, &message).await;

        assert_eq!((&trace_body["turn"], &trace_body["rounds"]), (&Value::Null, &json!([])));
        assert_eq!(
            (&trace_body["totals"]["input_tokens"], &trace_body["totals"]["price"]),
            (&json!(0), &json!("0.00"))
        );
        let path = format!("/v1/messages/{}/trace", message.as_str().unwrap());
        let foreign = server.request("GET", &path).bearer(&server.keys.other_workspace).send().await;
        let text = format!("Message not found: {}.", message.as_str().unwrap());
        assert_eq!((foreign.status, &foreign.json()["message"]), (404, &json!(text)));
        for name in ["x", "msg_00000000000000000000000000"] {
            let answer = server.get(&format!("/v1/messages/{name}/trace")).await;
            assert_eq!((answer.status, answer.header("rejoinder-error")), (404, Some("message_not_found")));
        }
        let reading = server.request("GET", &path).bearer(&server.keys.read_only).send().await;
        assert_eq!(reading.status, 200);
    }
);
