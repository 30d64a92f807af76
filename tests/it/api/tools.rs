//! Tool calls in widget responses: each is listed in `function_calls`, whether it succeeded or failed.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::http::Response;
use crate::support::server::{ASSISTANT, Setup, TestServer, WIDGET};

/// The end of the system prompt at the server's time.
const DATES: &str = "Today is Sunday, 2026-03-15 (Europe/Berlin). The next days are Monday, 2026-03-16; \
    Tuesday, 2026-03-17; Wednesday, 2026-03-18; Thursday, 2026-03-19; Friday, 2026-03-20; Saturday, 2026-03-21; \
    Sunday, 2026-03-22.";

/// The response to a message for which the model makes these calls, and then answers `Done.`
async fn answer_with_calls(server: &TestServer, calls: impl IntoIterator<Item = ToolCall>) -> Response {
    server.model.script().queue([Reply::tool_calls(calls), Reply::text("Done.")]);
    server.post_message(WIDGET, "What times are free for a demo next week?").send().await
}

/// The result of a response's only call.
fn only_result(answer: &Response) -> Value {
    let body = answer.json();
    assert_eq!((answer.status, &body["message"]), (200, &json!("Done.")), "{body}");
    let calls = body["function_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    calls[0]["result"].clone()
}

both_backends!(
    async fn a_calendar_lookup_is_answered_as_the_contract_shows(db: TestDb) {
        let server = Setup::default().clock_at("2025-01-10T09:00:00Z").start(&db).await;
        let text = "I've checked our calendar and found several available slots for next week. I can offer you \
                    Monday at 2 PM, Wednesday at 10 AM, or Friday at 3 PM. Which would you prefer?";
        let arguments = json!({ "start_date": "2025-01-13", "end_date": "2025-01-17" });
        let call = ToolCall::new("check_calendar_availability", &arguments);
        server.model.script().queue([Reply::tool_calls([call]), Reply::text(text)]);

        let answer = server.post_message(WIDGET, "What times are free for a demo next week?").send().await;

        assert_eq!(answer.status, 200);
        let expected = format!(
            r#"{{"status":true,"message":"{text}","function_calls":[{{"name":"check_calendar_availability","arguments":{{"start_date":"2025-01-13","end_date":"2025-01-17"}},"result":{{"available_slots":["2025-01-13 14:00","2025-01-15 10:00","2025-01-17 15:00"],"time_zone":"Europe/Berlin"}}}}]}}"#
        );
        assert_eq!(answer.text(), expected);
        assert_eq!(server.balance().await, "9.99", "a turn is one charge, however many calls it takes");
        let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await.json();
        let last = history["history"].as_array().unwrap().last().unwrap();
        assert_eq!(last["function_calls"], answer.json()["function_calls"]);
    }
);

both_backends!(
    async fn the_model_receives_each_result_under_the_id_of_its_call(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.tool.script().queue([ToolReply::json(&json!({ "status": "shipped" }))]);

        answer_with_calls(&server, [ToolCall::new("get_order_status", &json!({ "order_id": "A 7" }))]).await;

        let calls = server.model.calls().all();
        let [first, second] = [&calls[0].request, &calls[1].request];
        assert_eq!(
            first.tools(),
            [
                "check_calendar_availability",
                "book_appointment",
                "cancel_appointment",
                "get_order_status",
                "write_note"
            ]
        );
        let [.., request, result] = second.messages() else { panic!("{second:?}") };
        assert_eq!(request["role"], "assistant");
        assert_eq!(request["tool_calls"][0]["function"]["name"], "get_order_status");
        assert_eq!(result["role"], "tool");
        assert_eq!(result["tool_call_id"], request["tool_calls"][0]["id"]);
        assert_eq!(result["content"], r#"{"status":"shipped"}"#);
        let sent = &server.tool.calls().all()[0].request;
        assert_eq!((sent.method.as_str(), sent.uri.path()), ("GET", "/orders/A%207"));
        assert!(sent.headers.contains_key("idempotency-key"));
    }
);

both_backends!(
    async fn calls_of_one_round_are_answered_in_the_models_order(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.tool.script().respond_with(|request| {
            let slow = if request.uri.path() == "/orders/first" { 60 } else { 0 };
            let reply = ToolReply::json(&json!({ "path": request.uri.path() }));
            reply.after(Duration::from_millis(slow))
        });
        let orders = ["first", "second", "third"];
        let calls = orders.map(|id| ToolCall::new("get_order_status", &json!({ "order_id": id })));

        let answer = answer_with_calls(&server, calls).await;

        let body = answer.json();
        let called = body["function_calls"].as_array().unwrap();
        let ids: Vec<_> = called.iter().map(|call| &call["arguments"]["order_id"]).collect();
        let paths: Vec<_> = called.iter().map(|call| &call["result"]["path"]).collect();
        assert_eq!(ids, orders);
        assert_eq!(paths, orders.map(|id| json!(format!("/orders/{id}"))).each_ref());
    }
);

both_backends!(
    async fn the_response_lists_the_calls_of_all_rounds(db: TestDb) {
        let server = TestServer::start(&db).await;
        let day = json!({ "start_date": "2026-03-18", "end_date": "2026-03-18" });
        let booking = json!({ "start": "2026-03-18T10:00:00", "title": "Demo" });
        server.model.script().queue([
            Reply::tool_calls([ToolCall::new("check_calendar_availability", &day)]),
            Reply::tool_calls([ToolCall::new("book_appointment", &booking)]),
            Reply::tool_calls([ToolCall::new("book_appointment", &booking)]),
            Reply::text("Booked."),
        ]);

        let answer = server.post_message(WIDGET, "Wednesday at ten, please").send().await.json();

        let calls = answer["function_calls"].as_array().unwrap();
        let results: Vec<_> = calls.iter().map(|call| &call["result"]).collect();
        assert_eq!(results[0]["available_slots"], json!(["2026-03-18 10:00"]));
        assert_eq!(results[1]["success"], true);
        assert_eq!(results[1]["start"], "2026-03-18T10:00:00+01:00");
        assert!(results[2]["error"].is_string(), "a slot is booked once: {}", results[2]);
        assert_eq!(server.query_number("select count(*) from bookings").await, 1);
    }
);

both_backends!(
    async fn a_result_that_is_not_an_object_is_wrapped(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.tool.script().queue([ToolReply::json(&json!(["shipped", 2]))]);

        let answer =
            answer_with_calls(&server, [ToolCall::new("get_order_status", &json!({ "order_id": "7" }))])
                .await;

        assert_eq!(only_result(&answer), json!({ "result": ["shipped", 2] }));
    }
);

both_backends!(
    async fn an_invalid_call_is_reported_to_the_model_and_the_turn_goes_on(db: TestDb) {
        let server = TestServer::start(&db).await;

        for (call, arguments, error) in [
            (
                ToolCall::new("send_rocket", &json!({ "to": "moon" })),
                json!({ "to": "moon" }),
                "There is no tool",
            ),
            (ToolCall::with_text("get_order_status", "{broken"), json!({}), "are not valid JSON"),
            (ToolCall::with_text("get_order_status", "[1]"), json!({}), "must be a JSON object"),
            (
                ToolCall::new("get_order_status", &json!({ "order_id": 7 })),
                json!({ "order_id": 7 }),
                "do not fit the tool's schema",
            ),
            (ToolCall::new("get_order_status", &json!({})), json!({}), "do not fit the tool's schema"),
        ] {
            let answer = answer_with_calls(&server, [call]).await;
            let result = only_result(&answer);
            assert!(result["error"].as_str().unwrap().contains(error), "{result}");
            assert_eq!(answer.json()["function_calls"][0]["arguments"], arguments);
        }
        assert!(server.tool.calls().all().is_empty(), "nothing was sent");
    }
);

both_backends!(
    async fn only_declared_arguments_leave_the_server_and_are_shown(db: TestDb) {
        let server = TestServer::start(&db).await;
        let order = json!({ "order_id": "7", "admin": true, "order_id[]": "8" });
        let note = json!({ "text": "x", "admin": true });
        let calls = [ToolCall::new("get_order_status", &order), ToolCall::new("write_note", &note)];

        let answer = answer_with_calls(&server, calls).await.json();

        let called = answer["function_calls"].as_array().unwrap();
        let shown: Vec<_> = called.iter().map(|call| &call["arguments"]).collect();
        assert_eq!(shown, [&json!({ "order_id": "7" }), &json!({ "text": "x" })]);
        let calls = server.tool.calls().all();
        let call_to = |path: &str| calls.iter().find(|call| call.request.uri.path() == path).unwrap();
        assert_eq!(call_to("/orders/7").request.uri.query(), None);
        assert_eq!(call_to("/notes").request.json(), json!({ "text": "x" }));
        let journal =
            server.query_number("select count(*) from journal where content like '%admin%' and position > 0");
        assert_eq!(journal.await, 0);
    }
);

both_backends!(
    async fn arguments_that_are_not_declared_leave_the_server_if_the_schema_accepts_them(db: TestDb) {
        let open = |text: String| {
            text.replace(
                "parameters = { type = \"object\",",
                "parameters = { type = \"object\", additionalProperties = true,",
            )
            .replace("/orders/{order_id}", "/orders/{order_id}?status=open")
        };
        let server = Setup::default().workspace(open).start(&db).await;
        let sent = json!({ "order_id": "7", "lang": "de" });
        let repeated = json!({ "order_id": "7", "status": "all" });
        let call = |arguments| ToolCall::new("get_order_status", arguments);

        let answer = answer_with_calls(&server, [call(&sent)]).await;
        let refused = only_result(&answer_with_calls(&server, [call(&repeated)]).await);

        assert_eq!(answer.json()["function_calls"][0]["arguments"], sent);
        let calls = server.tool.calls().all();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].request.uri.query(), Some("status=open&lang=de"));
        let error = refused["error"].as_str().unwrap();
        assert!(error.contains("\"status\" would repeat a name in the query"), "{error}");
    }
);

both_backends!(
    async fn a_failing_tool_is_reported_to_the_model_and_the_turn_goes_on(db: TestDb) {
        let server = TestServer::start(&db).await;
        let order = || ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        let huge = vec![b'x'; 1024 * 1024 + 1];

        for (reply, error) in [
            (ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR), "status 500"),
            (ToolReply::status(StatusCode::FOUND).with_header(http::header::LOCATION, "/x"), "redirect"),
            (ToolReply::status(StatusCode::OK).with_body(huge), "too large"),
            (ToolReply::status(StatusCode::OK).after(Duration::from_secs(2)), "did not answer within 1 s"),
        ] {
            server.tool.script().queue([reply]);
            let result = only_result(&answer_with_calls(&server, [order()]).await);
            assert!(result["error"].as_str().unwrap().contains(error), "{result}");
        }
    }
);

both_backends!(
    async fn endless_tool_calls_end_the_turn_with_a_refund(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_ROUNDS", "3").start(&db).await;
        let order = || ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().respond_with(move |_| Reply::tool_calls([order()]));

        let endless = server.post_message(WIDGET, "Where is it?").send().await;

        let expected = r#"{"status":false,"error":"Failed to process message: Too many tool calls"}"#;
        assert_eq!((endless.status, endless.text()), (400, expected));
        assert_eq!(endless.header("rejoinder-error"), Some("too_many_tool_calls"));
        assert_eq!(server.model.calls().all().len(), 3);
        assert_eq!(server.tool.calls().all().len(), 2, "the calls of the last round change nothing");
        assert_eq!(server.balance().await, "10.00");
        assert_eq!(
            server.wait_for_events("reply.failed", 1).await[0]["data"]["reason"],
            "too_many_tool_calls"
        );
    }
);

both_backends!(
    async fn too_many_calls_in_one_round_end_the_turn_before_they_run(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_TOOL_CALLS", "2").start(&db).await;
        let calls = ["1", "2", "3"].map(|id| ToolCall::new("get_order_status", &json!({ "order_id": id })));

        let refused = answer_with_calls(&server, calls).await;

        let expected = r#"{"status":false,"error":"Failed to process message: Too many tool calls"}"#;
        assert_eq!((refused.status, refused.text()), (400, expected));
        assert!(server.tool.calls().all().is_empty());
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn twelve_conversations_race_for_one_slot_and_one_books_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let booking = json!({ "start": "2026-03-18T10:00", "title": "Demo" });
        server.model.script().respond_with(move |request| {
            if request.messages().last().is_some_and(|last| last["role"] == "tool") {
                return Reply::text("Done.");
            }
            Reply::tool_calls([ToolCall::new("book_appointment", &booking)])
        });
        let mut uuids = Vec::new();
        for _ in 0..12 {
            uuids.push(server.create_conversation().await);
        }

        let tell = |uuid: &String| server.post_message(uuid, "Wednesday at ten, please").send();
        let answers = futures::future::join_all(uuids.iter().map(tell)).await;

        let results: Vec<_> = answers.iter().map(only_result).collect();
        let (booked, refused): (Vec<_>, Vec<_>) =
            results.iter().partition(|result| result["success"] == true);
        assert_eq!((booked.len(), refused.len()), (1, 11), "{results:?}");
        assert!(refused.iter().all(|result| result["error"].is_string()), "{refused:?}");
        assert!(
            refused.iter().all(|result| result["available_slots"].is_array()),
            "what is possible: {refused:?}"
        );
        assert_eq!(server.query_number("select count(*) from bookings").await, 1);
    }
);

/// A booking of one hour; each number is another free time.
fn booking(number: usize) -> ToolCall {
    let day = ["2026-03-16 14:00", "2026-03-18 10:00", "2026-03-20 15:00", "2026-03-23 14:00"][number];
    ToolCall::new("book_appointment", &json!({ "start": day, "title": "Demo" }))
}

/// The results of a message for which the model makes these calls, one after the other.
async fn results_of(
    server: &TestServer,
    uuid: &str,
    calls: impl IntoIterator<Item = ToolCall>,
) -> Vec<Value> {
    let rounds = calls.into_iter().map(|call| Reply::tool_calls([call]));
    server.model.script().queue(rounds.chain([Reply::text("Done.")]));
    let answer = server.post_message(uuid, "Please book").send().await.json();
    let calls = answer["function_calls"].as_array().unwrap();
    calls.iter().map(|call| call["result"].clone()).collect()
}

both_backends!(
    async fn a_conversation_books_only_so_often_also_if_it_cancels(db: TestDb) {
        let bound = |text: String| {
            text.replace("slot_minutes = 60", "slot_minutes = 60\nbookings_per_conversation = 2")
        };
        let server = Setup::default().workspace(bound).start(&db).await;
        let other = server.create_conversation().await;

        let booked = results_of(&server, WIDGET, [booking(0), booking(1)]).await;
        let cancel = json!({ "booking_id": booked[0]["booking_id"] });
        let calls = [ToolCall::new("cancel_appointment", &cancel), booking(2)];
        let after = results_of(&server, WIDGET, calls).await;
        let by_other = results_of(&server, &other, [booking(2)]).await;

        assert!(booked.iter().all(|result| result["success"] == true), "{booked:?}");
        assert_eq!(after[0], json!({ "success": true }));
        let expected = "no more appointments can be booked in this conversation: it has booked 2, cancelled ones included";
        assert_eq!(after[1], json!({ "error": expected }));
        assert_eq!(by_other[0]["success"], true);
        assert_eq!(server.query_number("select count(*) from bookings").await, 3);
    }
);

both_backends!(
    async fn a_calendar_takes_only_so_many_bookings_on_one_day(db: TestDb) {
        let bound =
            |text: String| text.replace("slot_minutes = 60", "slot_minutes = 60\nbookings_per_day = 2");
        let server = Setup::default().workspace(bound).start(&db).await;
        let other = server.create_conversation().await;

        let first = results_of(&server, WIDGET, [booking(0)]).await;
        let today = results_of(&server, &other, [booking(1), booking(2)]).await;
        server.advance_clock(&db, Duration::from_hours(24)).await;
        let tomorrow = results_of(&server, &other, [booking(2)]).await;

        assert_eq!(first[0]["success"], true);
        assert_eq!(today[0]["success"], true);
        let expected = "no more appointments can be booked today: the calendar takes 2 bookings a day; ask the visitor to come \
            back tomorrow";
        assert_eq!(today[1], json!({ "error": expected }));
        assert_eq!(tomorrow[0]["success"], true, "{}", tomorrow[0]);
    }
);

both_backends!(
    async fn visitor_variables_fill_the_prompt_but_never_a_tool_url(db: TestDb) {
        let in_url = |text: String| {
            text.replace("/orders/{order_id}", "/orders/{{company}}/{order_id}?name={{name}}")
                .replace("front desk of {{company}}.", "front desk of {{company}} for {{name}}.")
        };
        let server = Setup::default().workspace(in_url).start(&db).await;
        let body = json!({ "assistant_id": ASSISTANT, "variables": { "name": "evil" } }).to_string();
        let created = server.request("POST", "/api/conversations").body(body).send().await.json();
        let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);

        server.post_message(created["conversation_id"].as_str().unwrap(), "Where is it?").send().await;

        let prompt = server.model.calls().all()[0].request.last_text("system").unwrap();
        let expected =
            "You are the front desk of Demo Ltd for <visitor_data name=\"name\">evil</visitor_data>.";
        assert!(prompt.starts_with(expected), "{prompt}");
        let uri = server.tool.calls().all()[0].request.uri.to_string();
        assert!(uri.ends_with("/orders/Demo%20Ltd/7?name="), "{uri}");
    }
);

both_backends!(
    async fn the_prompt_of_an_assistant_with_a_calendar_ends_with_the_dates_of_a_week(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::text("Tuesday is free.")]);

        server.post_message(WIDGET, "Is Tuesday free?").send().await;

        let prompt = server.model.calls().all()[0].request.last_text("system").unwrap();
        assert!(prompt.ends_with(DATES), "{prompt}");
    }
);

both_backends!(
    async fn oversized_visitor_variables_are_left_out_of_the_prompt(db: TestDb) {
        let much = |text: String| {
            text.replace("desk of {{company}}", &"desk of {{company}}{{name}}".repeat(20))
                .replace("max_length = 80", "max_length = 4096")
        };
        let server = Setup::default().workspace(much).start(&db).await;
        // Four bytes each in the prompt.
        let variables = json!({ "name": "<".repeat(4_096) });
        let body = json!({ "assistant_id": ASSISTANT, "variables": variables }).to_string();
        let created = server.request("POST", "/api/conversations").body(body).send().await.json();
        server.model.script().queue([Reply::text("Hello.")]);

        server.post_message(created["conversation_id"].as_str().unwrap(), "Hi").send().await;

        let prompt = server.model.calls().all()[0].request.last_text("system").unwrap();
        assert!(prompt.starts_with("You are the front desk of Demo Ltddesk of Demo Ltd"), "{prompt}");
    }
);
