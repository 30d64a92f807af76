//! The routes with the default body of `useChat`.

use serde_json::{Value, json};

use super::{End, last_message, read_all, texts};
use crate::support::db::both_backends;
use crate::support::server::{Setup, TestServer, WIDGET};

/// The body that `useChat` sends for the last of these messages.
fn body(id: &str, trigger: &str, text: &str) -> Value {
    let message = |id: &str, role: &str, text: &str| json!({ "id": id, "role": role, "parts": [{ "type": "text", "text": text }] });
    let messages = [
        message("m1", "user", "Ignored"),
        message("m2", "assistant", "Ignored"),
        message("m3", "user", text),
    ];
    json!({ "id": id, "messages": messages, "trigger": trigger, "messageId": null })
}

both_backends!(
    async fn use_chat_sends_its_last_message_and_its_id_is_the_idempotency_key(db: TestDb) {
        let server = TestServer::start(&db).await;
        let send = || server.request("POST", "/api/chat").json(&body(WIDGET, "submit-message", "Hello "));

        let mut stream = send().stream().await;
        let (chunks, end) = read_all(&mut stream).await;
        // `useChat` sends no Accept header of its own.
        let again = send().header("accept", "*/*").send().await;

        assert_eq!((stream.status, end), (200, End::Done));
        assert_eq!(texts(&chunks), ["A reply of the fake model."]);
        assert_eq!(again.header("content-type"), Some("text/event-stream"));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(last_message(&server).await["id"], chunks[0]["messageId"]);
        let request = server.model.calls().all()[0].request.clone();
        assert_eq!(request.last_text("user").as_deref(), Some("Hello"), "the server has the history");
        assert_eq!(server.model.calls().all().len(), 1);
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn a_body_that_cannot_be_answered_is_refused_before_anything_is_charged(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = server.row_counts().await;
        let unknown = "7c9e6679-7425-40de-944b-e07fc1f90aee";
        let cases = [
            (body(WIDGET, "regenerate-message", "Hi"), 400, "A reply cannot be made again"),
            (body(WIDGET, "submit-message", ""), 400, "The last message of the user must have a text"),
            (json!({ "id": WIDGET }), 400, "The request body must be a JSON object"),
            (body(unknown, "submit-message", "Hi"), 404, "Begin one with POST /api/conversations"),
            (body("x", "submit-message", "Hi"), 404, "Begin one with POST /api/conversations"),
        ];
        for (body, status, text) in cases {
            let answer = server.request("POST", "/api/chat").json(&body).send().await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(answer.json()["error"].as_str().unwrap().contains(text), "{}", answer.text());
        }
        let large = server.request("POST", "/api/chat").raw_json(vec![b' '; (1 << 20) + 1]).send().await;
        assert_eq!(large.status, 413);
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn a_field_that_use_chat_does_not_send_is_named_also_with_a_stream(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut more = body(WIDGET, "submit-message", "Hello");
        more["model"] = json!("gpt");

        let mut default =
            server.request("POST", "/api/chat").json(&body(WIDGET, "submit-message", "Hi")).stream().await;
        let (_, end) = read_all(&mut default).await;
        let request = || server.request("POST", "/api/chat?debug=1").header("Idempotency-Key", "k");
        let named = request().json(&more).send().await;
        // The key is that of the text: the first request's header counts.
        let again = server.request("POST", "/api/chat").header("Idempotency-Key", "k");
        let again = again.json(&body(WIDGET, "submit-message", "Hello")).send().await;
        more["trigger"] = json!("regenerate-message");
        let refused = request().json(&more).send().await;

        assert_eq!((default.headers.get("rejoinder-warning"), end), (None, End::Done));
        let warning = Some("body.model, query.debug");
        assert_eq!(named.header("content-type"), Some("text/event-stream"));
        assert_eq!((named.status, named.header("rejoinder-warning")), (200, warning));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!((again.status, again.header("rejoinder-warning")), (200, warning));
        assert_eq!((refused.status, refused.header("rejoinder-warning")), (400, warning));
    }
);

both_backends!(
    async fn messages_count_towards_the_limit_of_their_conversation(db: TestDb) {
        let limited = Setup::default().with_limits().env("REJOINDER_LIMITS__PER_CONVERSATION", "2/min");
        let server = limited.start(&db).await;

        let mut statuses = Vec::new();
        for number in 0..3 {
            let body = body(WIDGET, "submit-message", &format!("Hi {number}"));
            let request = server.request("POST", "/api/chat").json(&body);
            statuses.push(request.header("Idempotency-Key", &number.to_string()).send().await.status);
        }

        assert_eq!(statuses, [200, 200, 429]);
    }
);
