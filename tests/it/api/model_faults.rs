//! A model error: the visitor gets the contract's error text, nothing is charged, and an event reports it.

use http::StatusCode;
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};

/// Short timeouts.
async fn impatient(db: &crate::support::db::TestDb) -> TestServer {
    Setup::default().env("REJOINDER_TURN__DEADLINE", "500ms").start(db).await
}

both_backends!(
    async fn each_model_error_has_its_text_and_code_and_is_refunded(db: TestDb) {
        let server = impatient(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let unreadable = "The model's answer could not be read";
        let faults = [
            (
                Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "secret-7"),
                "The model is unavailable",
                "model_unavailable",
            ),
            (
                Reply::error(StatusCode::BAD_REQUEST, "secret-7"),
                "The model refused the request",
                "model_refused",
            ),
            (
                Reply::error(StatusCode::UNAUTHORIZED, "secret-7"),
                "The model refused the request",
                "model_refused",
            ),
            (Reply::text("Never.").gated_by(&Gate::closed()), "Connection timeout", "model_timeout"),
            (Reply::garbage(), unreadable, "model_unreadable"),
            (Reply::cut("secret-7, and more of it"), unreadable, "model_unreadable"),
            (Reply::unfinished("secret-7, and more of it"), unreadable, "model_unreadable"),
            (Reply::no_choices(), unreadable, "model_unreadable"),
            (Reply::text("  \n"), unreadable, "model_unreadable"),
        ];
        let count = faults.len();

        for (reply, text, code) in faults {
            server.model.script().queue([reply]);
            let answer = server.post_message(WIDGET, "Hi").send().await;
            let expected = format!(r#"{{"status":false,"error":"Failed to process message: {text}"}}"#);
            assert_eq!((answer.status, answer.text()), (400, &*expected));
            assert_eq!(answer.header("rejoinder-error"), Some(code));
            assert_eq!(server.balance().await, "10.00", "{code}");
            let turn = answer.header("rejoinder-turn").unwrap();
            let turn_body = server.get(&format!("/v1/turns/{turn}")).await.json();
            assert_eq!(
                (&turn_body["data"]["state"], &turn_body["data"]["reason"]),
                (&json!("failed"), &json!(code))
            );
            let failed = server.events("reply.failed").await;
            let last = &failed.last().unwrap()["data"];
            assert_eq!(
                (&last["conversation_id"], &last["turn_id"], &last["reason"]),
                (&json!(con), &json!(turn), &json!(code))
            );
        }
        assert_eq!(server.events("reply.failed").await.len(), count);
        assert_eq!(server.messages(&con).await.len(), 1 + count, "messages whose turn failed stay");
        let sum = "select cast(sum(amount) as bigint) from ledger where kind <> 'top_up'";
        assert_eq!(server.query_number(sum).await, 0);
    }
);

both_backends!(
    async fn a_rate_limited_model_is_not_called_until_its_retry_after(db: TestDb) {
        let server = Setup::default().env("REJOINDER_WIDGET__DEADLINE", "1s").system_clock().start(&db).await;
        server.model.script().queue([Reply::rate_limited(Some("30"))]);

        let limited = server.post_message(WIDGET, "Hi").send().await;
        let paused = server.post_message(WIDGET, "Hi again").send().await;

        let expected = r#"{"status":false,"error":"Failed to process message: The model is rate limited"}"#;
        assert_eq!((limited.status, limited.text()), (400, expected));
        assert_eq!(limited.header("rejoinder-error"), Some("model_rate_limited"));
        let expected = r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#;
        assert_eq!((paused.status, paused.text()), (400, expected));
        assert_eq!(server.model.calls().all().len(), 1, "it was not called again");
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_transient_model_error_is_retried_and_not_visible(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").system_clock().start(&db).await;
        server
            .model
            .script()
            .queue([Reply::error(StatusCode::BAD_GATEWAY, "Oops"), Reply::text("Here I am.")]);

        let answer = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!(answer.text(), r#"{"status":true,"message":"Here I am.","function_calls":[]}"#);
        assert_eq!(server.model.calls().all().len(), 2);
        assert_eq!(server.balance().await, "9.99");
        assert!(server.events("reply.failed").await.is_empty());
    }
);

both_backends!(
    async fn text_that_no_database_can_store_is_cleaned(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::text("a\0b")]);

        let answer = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!(answer.text(), r#"{"status":true,"message":"ab","function_calls":[]}"#);
    }
);
