//! The widget contract: its example bodies, byte for byte, its errors and its texts.

use super::app::{App, FOREIGN_KEY, KEY, put_assistant, reply};
use crate::domain::failure::{Discard, Failure};
use crate::domain::money::Money;
use crate::domain::turn::TurnEnd;
use serde_json::json;
use uuid::Uuid;

const CALLS: &str = r#"[{"name":"check_calendar_availability","arguments":{"start_date":"2025-01-13","end_date":"2025-01-17"},"result":{"available_slots":["2025-01-13 14:00"]}}]"#;
const HELLO: &str = r#"{"message": "I would like to schedule a demo for next week"}"#;

#[tokio::test]
async fn a_message_is_answered_with_the_reply_and_its_calls() {
    let app = App::new().await;
    let uuid = app.conversation().await;

    let plain = app.say(&uuid, HELLO).send().await;
    app.script(Some(reply("Which would you prefer?", CALLS)));
    let called = app.say(&uuid, HELLO).send().await;

    assert_eq!(plain.status, 200);
    assert_eq!(plain.body, r#"{"status":true,"message":"Monday at 2 PM.","function_calls":[]}"#);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert!(plain.header("rejoinder-turn").unwrap().starts_with("trn_"));
    assert!(plain.header("x-request-id").is_some());
    let expected =
        format!(r#"{{"status":true,"message":"Which would you prefer?","function_calls":{CALLS}}}"#);
    assert_eq!(called.body, expected);
    assert_eq!(app.balance().await, Money(9_980_000));
}

#[tokio::test]
async fn a_turn_that_fails_is_a_400_and_refunded() {
    let app = App::new().await;
    let uuid = app.conversation().await;
    app.script(Some(TurnEnd::Failed(Failure::Timeout)));

    let failed = app.say(&uuid, HELLO).send().await;

    assert_eq!(failed.status, 400);
    assert_eq!(failed.body, r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#);
    assert_eq!(failed.header("rejoinder-error"), Some("model_timeout"));
    assert_eq!(app.balance().await, Money(10_000_000));
}

#[tokio::test]
async fn a_reply_that_is_discarded_reads_as_an_ai_that_is_off() {
    let app = App::new().await;
    let uuid = app.conversation().await;
    app.script(Some(TurnEnd::Discarded(Discard::AiDisabled)));

    let discarded = app.say(&uuid, HELLO).send().await;

    assert_eq!(discarded.status, 200);
    assert_eq!(discarded.body, r#"{"status":true,"message":"","function_calls":[],"ai_disabled":true}"#);
}

#[tokio::test]
async fn an_unknown_conversation_is_not_found_whatever_its_name() {
    let app = App::new().await;
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

#[tokio::test]
async fn a_message_that_cannot_be_taken_is_a_422_that_says_why() {
    let app = App::new().await;
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

#[tokio::test]
async fn two_thousand_characters_pass_in_any_content_type_and_are_trimmed() {
    let app = App::new().await;
    let uuid = app.conversation().await;
    let text = "😀".repeat(2_000);
    let body = json!({"message": format!("  {text}\n")}).to_string();

    let path = format!("/api/conversations/{uuid}/messages");
    let answer = app.call("POST", &path).header("content-type", "text/plain").body(body).send().await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let history = app.call("GET", &format!("/api/conversations/{uuid}")).send().await.json();
    assert_eq!(history["history"][1]["content"], text);
}

#[tokio::test]
async fn a_balance_that_is_too_low_leaves_no_trace() {
    let app = App::new().await;
    let uuid = app.conversation().await;
    sqlx::query("update workspace_state set balance = 9999").execute(&app.pool).await.unwrap();
    let before = app.messages().await;

    let answer = app.say(&uuid, HELLO).send().await;

    assert_eq!(answer.status, 400);
    let expected = r#"{"status":false,"error":"Insufficient balance. Please top up your account."}"#;
    assert_eq!(answer.body, expected);
    assert_eq!(app.messages().await, before);
}

#[tokio::test]
async fn an_idempotency_key_replays_its_answer() {
    let app = App::new().await;
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
    assert_eq!(app.balance().await, Money(9_990_000));
}

#[tokio::test]
async fn an_idempotency_key_is_1_to_255_visible_characters() {
    let app = App::new().await;
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

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_listed_is_refused() {
    let app = App::new().await;
    let assistant = Uuid::from_u128(5);
    put_assistant(&app.pool, assistant, &json!(["https://shop.example"])).await;
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

#[tokio::test]
async fn a_key_that_does_not_hold_is_a_401_before_all_else() {
    let app = App::new().await;

    for key in ["sk_unknown", "sk_expired", "sk_revoked", ""] {
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

#[tokio::test]
async fn the_widget_waits_no_longer_than_its_deadline() {
    let app = App::with(|config| {
        config.limits.enabled = false;
        config.widget.deadline = std::time::Duration::ZERO;
    })
    .await;
    let uuid = app.conversation().await;
    app.script(None);

    let answer = app.say(&uuid, HELLO).send().await;

    assert_eq!(answer.body, r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#);
    assert_eq!(app.balance().await, Money(10_000_000));
}
