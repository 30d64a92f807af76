//! The widget contract: its example bodies, byte for byte, its errors and its texts.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{RESTRICTED, Setup, TestServer, WIDGET};

const HELLO: &str = r#"{"message": "I would like to schedule a demo for next week"}"#;

both_backends!(
    async fn a_message_is_answered_with_the_contracts_success_body(db: TestDb) {
        let server = TestServer::start(&db).await;
        let text = "I'd be happy to help you schedule a demo! I have availability on Monday at 2 PM.";
        server.model.script().queue([Reply::text(text)]);

        let answer = server.post_message_body(WIDGET, HELLO).send().await;

        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), format!(r#"{{"status":true,"message":"{text}","function_calls":[]}}"#));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("rejoinder-turn").unwrap().starts_with("trn_"));
        assert_eq!(answer.header("rejoinder-error"), None);
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(server.balance().await, "9.99");
        let sent = &server.model.calls().all()[0].request;
        assert_eq!(sent.last_text("user").as_deref(), Some("I would like to schedule a demo for next week"));
        let prompt = sent.last_text("system").unwrap();
        assert!(prompt.starts_with("You are the front desk of Demo Ltd."), "{prompt}");
    }
);

both_backends!(
    async fn an_unknown_conversation_is_a_404_whatever_its_id(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let compact = uuid.replace('-', "");

        for name in ["7c9e6679-7425-40de-944b-e07fc1f90ae8", "x", "%ff", "con_9s2kd81", &compact] {
            let answer = server.post_message_body(name, HELLO).send().await;
            assert_eq!(
                (answer.status, answer.text()),
                (404, r#"{"status":false,"error":"Conversation not found"}"#),
                "{name}"
            );
            assert_eq!(answer.header("rejoinder-error"), Some("conversation_not_found"));
        }
        let foreign =
            server.post_message_body(&uuid, HELLO).bearer(&server.keys.other_workspace).send().await;
        assert_eq!(foreign.text(), r#"{"status":false,"error":"Conversation not found"}"#);
        let upper = server.post_message_body(&uuid.to_uppercase(), HELLO).send().await;
        assert_eq!(upper.status, 200);
    }
);

both_backends!(
    async fn an_invalid_message_is_a_422_with_the_reason(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let before = server.row_counts().await;
        let required = "The message field is required.";
        let invalid = "The message field contains an invalid character.";
        let long = json!({"message": "é".repeat(2_001)}).to_string();

        for (body, text) in [
            ("{}", required),
            ("", required),
            ("{", required),
            ("[]", required),
            (r#"["hello"]"#, required),
            (r#""hello""#, required),
            (r#"{"message": null}"#, required),
            (r#"{"message": ""}"#, required),
            (r#"{"message": " \u00a0\n "}"#, required),
            (r#"{"message": 1}"#, "The message field must be a string."),
            (r#"{"message": ["a"]}"#, "The message field must be a string."),
            (r#"{"message": "a\u0000"}"#, invalid),
            (r#"{"message": "\ud800"}"#, invalid),
            (&long, "The message field must not be greater than 2000 characters."),
        ] {
            let answer = server.post_message_body(&uuid, body).send().await;
            let expected = format!(r#"{{"message":"{text}","errors":{{"message":["{text}"]}}}}"#);
            assert_eq!((answer.status, answer.text()), (422, &*expected), "{body}");
            assert_eq!(answer.header("rejoinder-error"), Some("invalid_request"));
        }
        let not_utf8 = server.post_message_body(&uuid, &b"{\"message\": \"\xff\"}"[..]).send().await;
        assert_eq!(not_utf8.status, 422);
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn two_thousand_characters_are_accepted_in_any_content_type_and_trimmed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let text = "😀".repeat(2_000);
        let body = json!({"message": format!("  {text}\n")}).to_string();

        let path = format!("/api/conversations/{uuid}/messages");
        let answer =
            server.request("POST", &path).header("content-type", "text/plain").body(body).send().await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        let history = server.request("GET", &format!("/api/conversations/{uuid}")).send().await.json();
        assert_eq!(history["history"][1]["content"], text);
    }
);

both_backends!(
    async fn an_insufficient_balance_changes_nothing(db: TestDb) {
        let server = Setup::default().balance("0.009999").start(&db).await;
        let uuid = WIDGET;
        let before = server.row_counts().await;

        let answer = server.post_message_body(uuid, HELLO).send().await;

        assert_eq!(answer.status, 400);
        let expected = r#"{"status":false,"error":"Insufficient balance. Please top up your account."}"#;
        assert_eq!(answer.text(), expected);
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn an_idempotency_key_replays_its_answer(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;

        let first = server.post_message_body(&uuid, HELLO).header("Idempotency-Key", "k 1").send().await;
        let again = server.post_message_body(&uuid, HELLO).header("Idempotency-Key", "k 1").send().await;
        let other = server
            .post_message_body(&uuid, r#"{"message": "b"}"#)
            .header("Idempotency-Key", "k 1")
            .send()
            .await;

        assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("rejoinder-turn"), first.header("rejoinder-turn"));
        assert_eq!(other.status, 422);
        let expected = r#"{"status":false,"error":"This Idempotency-Key was used with another request"}"#;
        assert_eq!(other.text(), expected);
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn an_idempotency_key_is_1_to_255_printable_ascii_characters(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;

        for key in ["", " ", "é", "a\tb", &"k".repeat(256)] {
            let answer = server.post_message_body(&uuid, HELLO).header("Idempotency-Key", key).send().await;
            assert_eq!(answer.status, 400, "{key}");
            let expected = r#"{"status":false,"error":"The Idempotency-Key header must have 1 to 255 printable ASCII characters"}"#;
            assert_eq!(answer.text(), expected, "{key}");
        }
        for key in ["a b", r#""a b""#, &"k".repeat(255)] {
            let answer = server.post_message_body(&uuid, HELLO).header("Idempotency-Key", key).send().await;
            assert_eq!(answer.status, 200, "{key}");
        }
    }
);

both_backends!(
    async fn an_origin_that_is_not_listed_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({ "assistant_id": RESTRICTED }).to_string();
        let created = server.request("POST", "/api/conversations").body(body.clone()).send().await.json();
        let uuid = created["conversation_id"].as_str().unwrap();

        let refused =
            server.post_message_body(uuid, HELLO).header("Origin", "https://evil.example").send().await;
        let allowed =
            server.post_message_body(uuid, HELLO).header("Origin", "https://shop.example").send().await;
        let begun =
            server.request("POST", "/api/conversations").header("Origin", "null").body(body).send().await;

        assert_eq!(refused.status, 403);
        assert_eq!(refused.text(), r#"{"status":false,"error":"This origin is not allowed."}"#);
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
        assert_eq!(allowed.status, 200);
        assert_eq!(begun.status, 403);

        // An archived assistant still answers in existing conversations.
        seed::configure(&db, "update assistants set archived_at = 1").await;
        let still =
            server.post_message_body(uuid, HELLO).header("Origin", "https://shop.example").send().await;
        assert_eq!(still.status, 200);
    }
);

both_backends!(
    async fn an_invalid_api_key_is_a_401_before_any_other_error(db: TestDb) {
        let server = TestServer::start(&db).await;

        for key in ["sk_unknown", &server.keys.expired, &server.keys.revoked, ""] {
            let answer = server.post_message_body("x", "{").bearer(key).send().await;
            assert_eq!(
                (answer.status, answer.text()),
                (401, r#"{"status":false,"error":"Invalid or expired token."}"#)
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let uuid = server.create_conversation().await;
        assert_eq!(server.post_message_body(&uuid, HELLO).bearer(&server.keys.full).send().await.status, 200);
    }
);

both_backends!(
    async fn a_widget_request_ends_at_its_deadline(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_WIDGET__DEADLINE", "50ms").system_clock().start(&db).await;
        server.model.script().queue([Reply::text("Too late.").gated_by(&Gate::closed())]);

        let answer = server.post_message_body(WIDGET, HELLO).send().await;

        assert_eq!(
            answer.text(),
            r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#
        );
        assert_eq!(answer.header("rejoinder-error"), Some("model_timeout"));
        assert_eq!(server.balance().await, "10.00");
    }
);
