//! The widget contract: its example bodies, byte for byte, its errors and its texts.

use ::http::StatusCode;

use super::app::{App, BAD_KEYS, FOREIGN_KEY, KEY};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::script::Gate;
use serde_json::json;

const HELLO: &str = r#"{"message": "I would like to schedule a demo for next week"}"#;

both_backends!(
    async fn a_message_is_answered_with_the_reply_and_paid_for(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;

        let answer = app.say(&uuid, HELLO).send().await;

        assert_eq!(answer.status, 200);
        let expected = r#"{"status":true,"message":"A reply of the fake model.","function_calls":[]}"#;
        assert_eq!(answer.body, expected);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("rejoinder-turn").unwrap().starts_with("trn_"));
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(app.balance().await, "9.99");
    }
);

both_backends!(
    async fn the_calls_that_were_made_come_with_the_reply_in_order(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let calls =
            [ToolCall::new("first", &json!({"z": 1, "a": "b"})), ToolCall::with_text("second", "no JSON")];
        app.model.script().queue([Reply::tool_calls(calls), Reply::text("Which would you prefer?")]);

        let answer = app.say(&uuid, HELLO).send().await;

        let body = answer.json();
        assert_eq!(body["message"], "Which would you prefer?");
        let calls = body["function_calls"].as_array().unwrap();
        assert_eq!(
            (calls.len(), &calls[0]["name"], &calls[1]["name"]),
            (2, &json!("first"), &json!("second"))
        );
        assert!(
            answer.body.contains(r#"{"name":"first","arguments":{"z":1,"a":"b"},"result":{"error":"#),
            "{}",
            answer.body
        );
        assert_eq!(calls[1]["arguments"], json!({}));
        assert!(calls[1]["result"]["error"].is_string());
    }
);

both_backends!(
    async fn a_turn_that_fails_is_a_400_and_refunded(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        app.model.script().queue([Reply::error(StatusCode::BAD_REQUEST, "secret internals")]);

        let failed = app.say(&uuid, HELLO).send().await;

        assert_eq!(failed.status, 400);
        let expected =
            r#"{"status":false,"error":"Failed to process message: The model refused the request"}"#;
        assert_eq!(failed.body, expected);
        assert_eq!(failed.header("rejoinder-error"), Some("model_refused"));
        assert_eq!(app.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_person_who_takes_over_frees_the_client_that_waits(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let never = Gate::closed();
        app.model.script().queue([Reply::text("Too late.").held_by(&never)]);

        let waiting = app.say(&uuid, HELLO).send();
        let takeover = async {
            app.model.calls().arrived(1).await;
            let path = format!("/api/automate/conversations/{uuid}/disable-ai");
            app.call("POST", &path).key(KEY).send().await
        };
        let (discarded, switched) = tokio::join!(waiting, takeover);

        assert_eq!(switched.status, 200);
        assert_eq!(discarded.status, 200);
        assert_eq!(discarded.body, r#"{"status":true,"message":"","function_calls":[],"ai_disabled":true}"#);
        assert_eq!(app.balance().await, "10.00");
    }
);

both_backends!(
    async fn an_unknown_conversation_is_not_found_whatever_its_name(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let compact = uuid.replace('-', "");

        for name in ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "x", "%ff", "con_9s2kd81", &compact] {
            let answer = app.say(name, HELLO).send().await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (404, r#"{"status":false,"error":"Conversation not found"}"#),
                "{name}"
            );
            assert_eq!(answer.header("rejoinder-error"), Some("conversation_not_found"));
        }
        let foreign = app.say(&uuid, HELLO).key(FOREIGN_KEY).send().await;
        assert_eq!(foreign.body, r#"{"status":false,"error":"Conversation not found"}"#);
        let upper = app.say(&uuid.to_uppercase(), HELLO).send().await;
        assert_eq!(upper.status, 200);
    }
);

both_backends!(
    async fn a_message_that_cannot_be_taken_is_a_422_that_says_why(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let before = app.messages().await;
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
            let answer = app.say(&uuid, body).send().await;
            let expected = format!(r#"{{"message":"{text}","errors":{{"message":["{text}"]}}}}"#);
            assert_eq!((answer.status, &answer.body), (422, &expected), "{body}");
            assert_eq!(answer.header("rejoinder-error"), Some("invalid_request"));
        }
        let not_utf8 = app.say(&uuid, b"{\"message\": \"\xff\"}").send().await;
        assert_eq!(not_utf8.status, 422);
        assert_eq!(app.messages().await, before);
    }
);

both_backends!(
    async fn two_thousand_characters_pass_in_any_content_type_and_are_trimmed(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let text = "😀".repeat(2_000);
        let body = json!({"message": format!("  {text}\n")}).to_string();

        let path = format!("/api/conversations/{uuid}/messages");
        let answer = app.call("POST", &path).header("content-type", "text/plain").body(body).send().await;

        assert_eq!(answer.status, 200, "{}", answer.body);
        let history = app.call("GET", &format!("/api/conversations/{uuid}")).send().await.json();
        assert_eq!(history["history"][1]["content"], text);
    }
);

both_backends!(
    async fn a_balance_that_is_too_low_leaves_no_trace(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        app.set_balance(9_999).await;
        let before = app.messages().await;

        let answer = app.say(&uuid, HELLO).send().await;

        assert_eq!(answer.status, 400);
        let expected = r#"{"status":false,"error":"Insufficient balance. Please top up your account."}"#;
        assert_eq!(answer.body, expected);
        assert_eq!(app.messages().await, before);
    }
);

both_backends!(
    async fn an_idempotency_key_replays_its_answer(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;

        let first = app.say(&uuid, HELLO).header("Idempotency-Key", "k 1").send().await;
        let again = app.say(&uuid, HELLO).header("Idempotency-Key", "k 1").send().await;
        let other = app.say(&uuid, r#"{"message": "b"}"#).header("Idempotency-Key", "k 1").send().await;

        assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("rejoinder-turn"), first.header("rejoinder-turn"));
        assert_eq!(other.status, 422);
        let expected = r#"{"status":false,"error":"This Idempotency-Key was used with another request"}"#;
        assert_eq!(other.body, expected);
        assert_eq!(app.balance().await, "9.99");
    }
);

both_backends!(
    async fn an_idempotency_key_is_1_to_255_visible_characters(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;

        for key in ["", "é", &"k".repeat(256)] {
            let answer = app.say(&uuid, HELLO).header("Idempotency-Key", key).send().await;
            assert_eq!(answer.status, 400, "{key}");
            assert!(
                answer.body.starts_with(r#"{"status":false,"error":"The Idempotency-Key"#),
                "{}",
                answer.body
            );
        }
        let longest = app.say(&uuid, HELLO).header("Idempotency-Key", &"k".repeat(255)).send().await;
        assert_eq!(longest.status, 200);
    }
);

both_backends!(
    async fn a_page_of_an_origin_that_is_not_listed_is_refused(db: TestDb) {
        let app = App::new(&db).await;
        let assistant = app.assistant(&json!(["https://shop.example"])).await;
        let body = json!({"assistant_id": assistant}).to_string();
        let made = app.call("POST", "/api/conversations").body(&body).send().await.json();
        let uuid = made["conversation_id"].as_str().unwrap();

        let refused = app.say(uuid, HELLO).header("Origin", "https://evil.example").send().await;
        let allowed = app.say(uuid, HELLO).header("Origin", "https://shop.example").send().await;
        let begun = app.call("POST", "/api/conversations").header("Origin", "null").body(&body).send().await;

        assert_eq!(refused.status, 403);
        assert_eq!(refused.body, r#"{"status":false,"error":"This origin is not allowed."}"#);
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
        assert_eq!(allowed.status, 200);
        assert_eq!(begun.status, 403);
    }
);

both_backends!(
    async fn a_key_that_does_not_hold_is_a_401_before_all_else(db: TestDb) {
        let app = App::new(&db).await;

        for key in BAD_KEYS {
            let answer = app.say("x", "{").key(key).send().await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (401, r#"{"status":false,"error":"Invalid or expired token."}"#)
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let uuid = app.conversation().await;
        assert_eq!(app.say(&uuid, HELLO).key(KEY).send().await.status, 200);
    }
);

both_backends!(
    async fn the_widget_waits_no_longer_than_its_deadline(db: TestDb) {
        let app = App::with(&db, |config| {
            config.limits.enabled = false;
            config.widget.deadline = std::time::Duration::from_millis(100);
        })
        .await;
        let uuid = app.conversation().await;
        let never = Gate::closed();
        app.model.script().queue([Reply::text("Too late.").held_by(&never)]);

        let answer = app.say(&uuid, HELLO).send().await;

        assert_eq!(
            answer.body,
            r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#
        );
        assert_eq!(app.balance().await, "10.00");
    }
);

both_backends!(
    async fn twins_of_a_key_wait_for_one_turn(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        let gate = Gate::closed();
        app.model.script().queue([Reply::text("Once.").held_by(&gate)]);
        let send = || app.say(&uuid, HELLO).header("Idempotency-Key", "twin").send();

        let first = send();
        let second = async {
            app.model.calls().arrived(1).await;
            let other = app.say(&uuid, r#"{"message": "b"}"#).header("Idempotency-Key", "twin").send().await;
            gate.open();
            (send().await, other)
        };
        let (first, (second, other)) = tokio::join!(first, second);

        assert_eq!((first.status, second.status, other.status), (200, 200, 422));
        assert_eq!(first.body, second.body);
        assert_eq!(first.header("rejoinder-turn"), second.header("rejoinder-turn"));
        assert_eq!(
            (first.header("idempotent-replayed"), second.header("idempotent-replayed")),
            (None, Some("true"))
        );
        assert_eq!(app.model.calls().all().len(), 1);
        assert_eq!(app.balance().await, "9.99");
    }
);

both_backends!(
    async fn a_refunded_answer_is_replayed_too(db: TestDb) {
        let app = App::new(&db).await;
        let uuid = app.conversation().await;
        app.model.script().queue([Reply::error(StatusCode::BAD_REQUEST, "no")]);
        let send = || app.say(&uuid, HELLO).header("Idempotency-Key", "k").send();

        let first = send().await;
        let again = send().await;

        assert_eq!((first.status, first.header("idempotent-replayed")), (400, None));
        assert_eq!((again.status, again.header("idempotent-replayed")), (400, Some("true")));
        assert_eq!((again.body, again.head.contains("model_refused")), (first.body, true));
        assert_eq!(app.balance().await, "10.00");
    }
);
