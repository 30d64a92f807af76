//! A visitor of the demo asks, books and cancels, with the offline model and the demo's own workspace.

use rejoinder::service::demo::DEMO_FILE;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::server::{Setup, TestServer, WIDGET};

/// The reply and its only tool call.
async fn post_message(server: &TestServer, text: &str) -> (String, Value) {
    let answer = server.post_message(WIDGET, text).send().await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{text}: {body}");
    let calls = body["function_calls"].as_array().unwrap();
    assert!(calls.len() <= 1, "{text}: {body}");
    (body["message"].as_str().unwrap().to_owned(), calls.first().cloned().unwrap_or_default())
}

both_backends!(
    async fn the_demo_assistant_answers_checks_books_and_cancels(db: TestDb) {
        let setup = Setup::default()
            .env("REJOINDER_MODEL__KIND", "offline")
            .workspace(|_| DEMO_FILE.to_owned())
            .clock_at("2026-03-11T09:00:00Z");
        let server = setup.start(&db).await;

        let (reply, call) = post_message(&server, "Hello").await;
        assert!(reply.contains("look for free times") && reply.contains("our documents"), "{reply}");
        assert_eq!(call, Value::Null);

        let (reply, call) = post_message(&server, "How much does it cost after the free trial?").await;
        assert_eq!(call["name"], "search_knowledge_base");
        assert_eq!(call["result"]["passages"][0]["source"], "Plans and prices");
        assert!(reply.starts_with("“Plans and prices” says:"), "{reply}");

        let (reply, _) = post_message(&server, "How long does a demo take?").await;
        assert!(reply.contains("“What a demo shows” says:") && reply.contains("30 minutes"), "{reply}");

        let (reply, call) = post_message(&server, "What times are free for a demo next week?").await;
        assert_eq!(call["arguments"], json!({ "start_date": "2026-03-16", "end_date": "2026-03-20" }));
        assert!(reply.contains("Tuesday, 17 March: 09:00, 09:30, 10:00"), "{reply}");

        let (reply, call) = post_message(&server, "Tuesday at 10:00 works for me").await;
        assert_eq!(call["name"], "book_appointment");
        assert!(reply.contains("Your appointment is booked for Tuesday, 17 March, at 10:00"), "{reply}");
        let booking = call["result"]["booking_id"].clone();

        let (reply, call) = post_message(&server, "Is next Tuesday at 10:00 free?").await;
        assert_eq!(call["name"], "check_calendar_availability");
        assert!(reply.contains("Tuesday, 17 March: 09:00, 09:30, 10:30"), "{reply}");

        let (reply, call) = post_message(&server, "Please cancel it").await;
        assert_eq!(
            (&call["name"], &call["arguments"]["booking_id"]),
            (&json!("cancel_appointment"), &booking)
        );
        assert!(reply.contains("Your appointment is cancelled."), "{reply}");

        let (reply, call) = post_message(&server, "Do you sell submarines?").await;
        assert_eq!(call["result"]["passages"], json!([]));
        assert!(reply.contains("nothing about that in our documents. Here is what I can do"), "{reply}");

        assert_eq!(server.balance().await, "9.92", "eight replies");
    }
);
