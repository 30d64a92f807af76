//! What the endpoints of vendors send, and what they refuse, as users of such endpoints have reported it. The fake model
//! refuses what the strictest chat templates refuse, in every test.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};

/// A stream of these choices.
fn stream(choices: &[Value]) -> Reply {
    let chunks = choices.iter().map(|choice| json!({ "choices": [choice] }).to_string());
    let events: Vec<String> = chunks.chain(["[DONE]".to_owned()]).collect();
    Reply::raw(StatusCode::OK, "text/event-stream", format!("data: {}\n\n", events.join("\n\ndata: ")))
}

fn delta(delta: &Value) -> Value {
    json!({ "index": 0, "delta": delta })
}

fn finish(reason: &str) -> Value {
    json!({ "index": 0, "delta": {}, "finish_reason": reason })
}

/// A stream of text that ends with this reason.
fn text(pieces: &[&str], reason: &str) -> Reply {
    let pieces = pieces.iter().map(|piece| delta(&json!({ "content": piece })));
    stream(&pieces.chain([finish(reason)]).collect::<Vec<_>>())
}

async fn ask(server: &TestServer, text: &str) -> Response {
    server.post_message(WIDGET, text).send().await
}

fn message(answer: &Response) -> String {
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    body["message"].as_str().unwrap().to_owned()
}

/// Two attempts at a turn.
async fn with_two_attempts(db: &crate::support::db::TestDb) -> TestServer {
    Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").system_clock().start(db).await
}

both_backends!(
    async fn a_system_message_in_mid_conversation_reaches_the_model_as_an_instruction(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        ask(&server, "Hi").await;
        let instruction = json!({
            "conversation_id": con, "sender_type": "system", "sender_id": "crm", "text": "Offer 10 % off.",
            "auto_reply": false,
        });
        server.enqueue(instruction.to_string()).send().await;

        let answer = ask(&server, "What does it cost?").await;

        assert_eq!(message(&answer), "A reply of the fake model.");
        let request = server.model.calls().all().last().unwrap().request.clone();
        assert!(request.last_text("system").unwrap().ends_with("Offer 10 % off."));
        assert_eq!(request.last_text("user").unwrap(), "What does it cost?");
    }
);

both_backends!(
    async fn the_fields_of_a_call_go_back_with_it_within_the_turn(db: TestDb) {
        let server = with_two_attempts(&db).await;
        let signature = json!({ "google": { "thought_signature": "CiQB" } });
        let call = json!({
            "index": 0, "id": "a", "type": "function", "extra_content": signature,
            "function": { "name": "get_order_status", "arguments": r#"{"order_id":"A7"}"# },
        });
        let round = stream(&[
            delta(&json!({ "reasoning_content": "An order.", "tool_calls": [call] })),
            finish("tool_calls"),
        ]);
        // The second attempt reads them from the journal.
        let failed = Reply::error(StatusCode::BAD_GATEWAY, "Oops");
        server.model.script().queue([round, failed, Reply::text("Shipped.")]);

        let answer = ask(&server, "Where is my order?").await;
        assert_eq!(message(&answer), "Shipped.");
        ask(&server, "Thanks").await;

        let calls = server.model.calls().all();
        for call in &calls[1..3] {
            let sent = &call.request.messages().iter().rev().nth(1).unwrap();
            assert_eq!(sent["tool_calls"][0]["extra_content"], signature);
            assert_eq!(sent["reasoning_content"], "An order.");
        }
        let later = calls[3].request.body.to_string();
        assert!(!later.contains("CiQB") && !later.contains("An order."), "only within the turn: {later}");
        assert!(!answer.text().contains("CiQB") && !answer.text().contains("An order."));
    }
);

both_backends!(
    async fn a_fallback_gets_no_fields_of_another_vendor(db: TestDb) {
        let edit = |text: String| {
            text.replace(
                r#"slug = "front-desk""#,
                "slug = \"front-desk\"\nfallbacks = [{ connection = \"default\", model = \"other\" }]",
            )
        };
        let server = Setup::default().workspace(edit).start(&db).await;
        let call = json!({
            "index": 0, "id": "a", "thought_signature": "CiQB",
            "function": { "name": "get_order_status", "arguments": r#"{"order_id":"A7"}"# },
        });
        let round = stream(&[delta(&json!({ "tool_calls": [call] })), finish("tool_calls")]);
        let failed = Reply::error(StatusCode::BAD_GATEWAY, "Oops");
        server.model.script().queue([round, failed, Reply::text("Shipped.")]);

        assert_eq!(message(&ask(&server, "Where is my order?").await), "Shipped.");

        let calls = server.model.calls().all();
        assert!(calls[1].request.body.to_string().contains("CiQB"));
        assert_eq!(calls[2].request.body["model"], "other");
        assert!(!calls[2].request.body.to_string().contains("CiQB"));
    }
);

both_backends!(
    async fn placeholders_among_the_pieces_of_arguments_are_ignored(db: TestDb) {
        let server = TestServer::start(&db).await;
        let piece = |arguments: &str| json!({ "index": 0, "function": { "arguments": arguments } });
        let first = json!({
            "index": 0, "id": "a", "function": { "name": "get_order_status", "arguments": "{}" },
        });
        let deltas = [first, piece(r#"{"order"#), piece(r#"_id":"A7"}"#)];
        let mut choices: Vec<_> = deltas.iter().map(|call| delta(&json!({ "tool_calls": [call] }))).collect();
        choices.push(finish("tool_calls"));
        server.model.script().queue([stream(&choices), Reply::text("Shipped.")]);

        let body = ask(&server, "Where is my order?").await.json();

        assert_eq!(body["function_calls"][0]["arguments"], json!({ "order_id": "A7" }), "{body}");
    }
);

both_backends!(
    async fn thoughts_are_in_the_trace_only(db: TestDb) {
        let server = TestServer::start(&db).await;
        let pieces = ["<thi", "nk>\nThe visitor looks poor…\n</th", "ink>\n\nThe small plan ", "is 9 euro."];
        server.model.script().queue([text(&pieces, "stop")]);

        let answer = ask(&server, "What does it cost?").await;
        ask(&server, "Thanks").await;

        assert_eq!(message(&answer), "The small plan is 9 euro.");
        let history = server.get(&format!("/api/conversations/{WIDGET}")).await;
        assert!(!history.text().contains("poor"), "{}", history.text());
        let next = server.model.calls().all()[1].request.body.to_string();
        assert!(!next.contains("poor") && next.contains("The small plan is 9 euro."), "{next}");
        let turn = answer.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        assert_eq!(trace["data"]["rounds"][0]["thoughts"], "The visitor looks poor…", "{trace}");
    }
);

both_backends!(
    async fn an_end_that_is_not_good_is_tried_again_and_not_charged(db: TestDb) {
        for reason in ["abort", "network_error", "error", "malformed_function_call"] {
            let server = with_two_attempts(&db).await;
            let charged =
                "select cast(coalesce(sum(amount), 0) as bigint) from ledger where kind <> 'top_up'";
            let before = server.query_number(charged).await;
            server.model.script().queue([text(&["We are op"], reason), text(&["We are open."], "stop")]);

            assert_eq!(message(&ask(&server, "Hi").await), "We are open.", "{reason}");

            assert_eq!(before - server.query_number(charged).await, 10_000, "one charge");
            server.stop().await;
        }
    }
);

both_backends!(
    async fn a_reply_at_the_limit_of_tokens_is_marked_as_truncated(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        server.model.script().queue([text(&["We are open from"], "length")]);

        let answer = ask(&server, "Hi").await;

        assert_eq!(
            answer.text(),
            r#"{"status":true,"message":"We are open from","function_calls":[]}"#,
            "the contract has no field for it"
        );
        let last = server.messages(&con).await.pop().unwrap();
        assert_eq!(last["truncated"], true);
        let history = server.get(&format!("/api/conversations/{WIDGET}")).await.json();
        assert_eq!(history["history"].as_array().unwrap().last().unwrap()["truncated"], true);
        let event = server.events("message.created").await.pop().unwrap();
        assert_eq!(event["data"]["message"]["truncated"], true);
        let turn = answer.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        assert_eq!(trace["data"]["rounds"][0]["truncated"], true);
    }
);

both_backends!(
    async fn an_empty_round_after_a_tool_is_asked_again(db: TestDb) {
        let server = with_two_attempts(&db).await;
        let call = ToolCall::new("write_note", &json!({ "text": "Call back" }));
        server.model.script().queue([
            Reply::tool_calls([call]),
            text(&[], "stop"),
            Reply::text("I have made a note."),
        ]);

        assert_eq!(message(&ask(&server, "Please note it").await), "I have made a note.");
        assert_eq!(server.tool.calls().all().len(), 1, "the call was made once");
    }
);

both_backends!(
    async fn the_calls_of_a_turn_without_a_reply_are_known_to_the_next_one(db: TestDb) {
        let server = TestServer::start(&db).await;
        let call = ToolCall::new("write_note", &json!({ "text": "Call back" }));
        server.model.script().queue([Reply::tool_calls([call]), text(&[], "stop")]);

        let failed = ask(&server, "Please note it").await;
        let answer = ask(&server, "Did you note it?").await;

        assert_eq!((failed.status, failed.header("rejoinder-error")), (400, Some("model_unreadable")));
        assert_eq!(message(&answer), "A reply of the fake model.");
        let request = server.model.calls().all().pop().unwrap().request;
        let roles: Vec<_> =
            request.messages().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles[roles.len() - 5..], ["user", "assistant", "tool", "assistant", "user"]);
        let sent = &request.messages()[roles.len() - 4];
        assert_eq!(sent["tool_calls"][0]["function"]["name"], "write_note");
    }
);

both_backends!(
    async fn a_failed_call_says_why_in_the_trace(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body =
            json!({ "error": { "message": "The model `x`\ndoes not exist", "code": "model_not_found" } });
        let refused = Reply::raw(StatusCode::NOT_FOUND, "application/json", body.to_string());
        server.model.script().queue([refused]);

        let failed = ask(&server, "Hi").await;

        assert_eq!(failed.header("rejoinder-error"), Some("model_refused"));
        assert!(!failed.text().contains("model_not_found"), "not for visitors");
        let turn = failed.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        let error = json!({
            "connection": "default",
            "model": server.model.calls().all()[0].request.body["model"],
            "url": format!("{}/chat/completions", server.model.base_url()),
            "status": 404,
            "code": "model_not_found",
            "message": "The model `x` does not exist",
        });
        assert_eq!(trace["data"]["model_error"], error);
    }
);

both_backends!(
    async fn a_slow_model_is_waited_for_where_there_is_no_other(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_MODEL__FIRST_BYTE_TIMEOUT", "100ms");
        let server = setup.env("REJOINDER_MODEL__IDLE_TIMEOUT", "100ms").start(&db).await;
        server.model.script().queue([Reply::text("Here I am.").after(Duration::from_millis(400))]);

        assert_eq!(message(&ask(&server, "Hi").await), "Here I am.");
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn a_model_that_takes_the_whole_attempt_is_not_asked_again(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "5").system_clock();
        let server = setup.env("REJOINDER_TURN__DEADLINE", "300ms").start(&db).await;
        server.model.script().respond_with(|_| Reply::text("Never.").gated_by(&Gate::closed()));

        let failed = ask(&server, "Hi").await;

        assert_eq!((failed.status, failed.header("rejoinder-error")), (400, Some("model_timeout")));
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn an_error_within_a_stream_fails_as_what_it_is(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "5").system_clock();
        let server = setup.env("REJOINDER_WIDGET__DEADLINE", "4s").start(&db).await;
        let event = json!({ "error": { "type": "overloaded_error", "message": "Overloaded" } });
        server.model.script().respond_with(move |_| {
            Reply::raw(StatusCode::OK, "text/event-stream", format!("data: {event}\n\n"))
        });

        let failed = ask(&server, "Hi").await;

        assert_eq!((failed.status, failed.header("rejoinder-error")), (400, Some("model_unavailable")));
        let turn = failed.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        assert_eq!(trace["data"]["model_error"]["message"], "Overloaded", "{trace}");
    }
);

both_backends!(
    async fn fields_that_an_endpoint_refuses_are_omitted_from_then_on(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().respond_with(|request| {
            let is_second_round = request.messages().last().unwrap()["role"] == "tool";
            let unknown = |field: &str| {
                let detail = json!({ "detail": [{ "type": "extra_forbidden", "loc": ["body", field] }] });
                Reply::raw(StatusCode::UNPROCESSABLE_ENTITY, "application/json", detail.to_string())
            };
            if request.body.get("stream_options").is_some() {
                unknown("stream_options")
            } else if request.body.to_string().contains("CiQB") {
                unknown("thought_signature")
            } else if is_second_round {
                Reply::text("Shipped.")
            } else {
                let call = json!({
                    "index": 0, "id": "a", "thought_signature": "CiQB",
                    "function": { "name": "get_order_status", "arguments": r#"{"order_id":"A7"}"# },
                });
                stream(&[delta(&json!({ "tool_calls": [call] })), finish("tool_calls")])
            }
        });

        assert_eq!(message(&ask(&server, "Where is my order?").await), "Shipped.");
        assert_eq!(server.model.calls().all().len(), 4, "each field is refused once");
        assert_eq!(message(&ask(&server, "And now?").await), "Shipped.");
        assert_eq!(server.model.calls().all().len(), 6, "and remembered");
    }
);

both_backends!(
    async fn a_request_that_is_refused_for_its_values_is_not_asked_again(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::error(StatusCode::BAD_REQUEST, "temperature must be below 2")]);

        assert_eq!(ask(&server, "Hi").await.header("rejoinder-error"), Some("model_refused"));
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn an_answer_that_a_filter_withheld_is_asked_again(db: TestDb) {
        let server = with_two_attempts(&db).await;
        let filtered = || text(&[], "content_filter");
        server.model.script().queue([filtered(), Reply::text("We are open."), filtered(), filtered()]);

        assert_eq!(message(&ask(&server, "Hi").await), "We are open.");
        assert_eq!(ask(&server, "Hi").await.header("rejoinder-error"), Some("model_refused"));
    }
);

both_backends!(
    async fn a_wait_that_ends_during_a_call_names_the_model(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_WIDGET__DEADLINE", "1s").system_clock();
        let server = setup.start(&db).await;
        server.model.script().respond_with(|_| Reply::text("Never.").gated_by(&Gate::closed()));

        let failed = ask(&server, "Hi").await;

        assert_eq!(failed.header("rejoinder-error"), Some("model_timeout"));
        let turn = failed.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        let error = &trace["data"]["model_error"];
        assert_eq!(error["url"], format!("{}/chat/completions", server.model.base_url()), "{trace}");
        assert_eq!(error["message"], "no complete answer in time");
    }
);

both_backends!(
    async fn an_unusable_answer_names_its_endpoint(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([text(&[" "], "stop")]);

        let failed = ask(&server, "Hi").await;

        let turn = failed.header("rejoinder-turn").unwrap();
        let trace = server.get(&format!("/v1/turns/{turn}")).await.json();
        let error = &trace["data"]["model_error"];
        assert_eq!(error["url"], format!("{}/chat/completions", server.model.base_url()), "{trace}");
        assert_eq!(error["message"], "the response has no text and no calls");
    }
);

both_backends!(
    async fn a_model_that_pauses_in_an_answer_is_waited_for_where_there_is_no_other(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_MODEL__FIRST_BYTE_TIMEOUT", "100ms");
        let server = setup.env("REJOINDER_MODEL__IDLE_TIMEOUT", "100ms").start(&db).await;
        server.model.script().queue([Reply::text("Here I am.").paced(Duration::from_millis(300))]);

        assert_eq!(message(&ask(&server, "Hi").await), "Here I am.");
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn a_slow_model_gets_all_the_time_once_its_fallbacks_have_failed(db: TestDb) {
        let edit = |text: String| {
            text.replace(
                r#"slug = "front-desk""#,
                "slug = \"front-desk\"\nfallbacks = [{ connection = \"default\", model = \"other\" }]",
            )
        };
        let setup = Setup::default().workspace(edit).env("REJOINDER_MODEL__FIRST_BYTE_TIMEOUT", "200ms");
        let server = setup.env("REJOINDER_TURN__MAX_ATTEMPTS", "2").system_clock().start(&db).await;
        server.model.script().respond_with(|request| {
            if request.body["model"] == "other" {
                Reply::error(StatusCode::BAD_GATEWAY, "Oops")
            } else {
                Reply::text("Here I am.").after(Duration::from_millis(600))
            }
        });

        assert_eq!(message(&ask(&server, "Hi").await), "Here I am.");
        assert_eq!(server.model.calls().all().len(), 3);
    }
);
