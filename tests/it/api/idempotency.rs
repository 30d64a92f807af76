//! A repeated widget request gets the first response, byte for byte, and is charged once.

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{Setup, TEST, TestServer, WIDGET};

async fn post_message_with_key(server: &TestServer, text: &str, key: &str) -> Response {
    server.post_message(WIDGET, text).header("Idempotency-Key", key).send().await
}

both_backends!(
    async fn a_refunded_failure_is_replayed_without_a_model_call(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::garbage()]);

        let first = post_message_with_key(&server, "Hi", "k").await;
        let again = post_message_with_key(&server, "Hi", "k").await;

        assert_eq!((first.status, again.status), (400, 400));
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.header("rejoinder-error"), Some("model_unreadable"));
        assert_eq!(server.model.calls().all().len(), 1);
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_duplicate_in_flight_waits_for_the_same_reply(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Once.").gated_by(&gate)]);

        let ((first, second), other) = tokio::join!(
            async {
                tokio::join!(
                    post_message_with_key(&server, "Hi", "k"),
                    post_message_with_key(&server, "Hi", "k")
                )
            },
            async {
                server.model.calls().wait_for_count(1).await;
                let other = post_message_with_key(&server, "Something else", "k").await;
                gate.open();
                other
            }
        );

        assert_eq!((first.status, second.status, other.status), (200, 200, 422));
        assert_eq!(first.header("rejoinder-turn"), second.header("rejoinder-turn"));
        assert_eq!(first.text(), second.text());
        let replayed: Vec<_> =
            [&first, &second].iter().filter_map(|answer| answer.header("idempotent-replayed")).collect();
        assert_eq!(replayed, ["true"], "one of them is the first");
        assert_eq!(server.model.calls().all().len(), 1);
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn a_duplicate_that_reaches_its_deadline_first_is_told_to_retry(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_WIDGET__DEADLINE", "500ms").system_clock().start(&db).await;
        server.model.script().respond_with(|_| Reply::text("Never.").gated_by(&Gate::closed()));

        let (first, second) = tokio::join!(
            post_message_with_key(&server, "Hi", "k"),
            post_message_with_key(&server, "Hi", "k")
        );

        for answer in [first, second] {
            let expected = r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#;
            let in_flight =
                r#"{"status":false,"error":"A request with this Idempotency-Key is still being processed"}"#;
            match answer.status {
                400 => assert_eq!(answer.text(), expected),
                409 => {
                    assert_eq!(answer.text(), in_flight);
                    assert!(answer.header("retry-after").is_some());
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_key_is_scoped_to_its_conversation_and_a_refusal_stores_no_record(db: TestDb) {
        let server = TestServer::start(&db).await;

        let widget = post_message_with_key(&server, "Hi", "k").await;
        let test = server.post_message(TEST, "Hi").header("Idempotency-Key", "k").send().await;
        let refused = server.post_message_body(WIDGET, "{}").header("Idempotency-Key", "other").send().await;
        let taken = post_message_with_key(&server, "Hi", "other").await;

        assert_eq!((widget.status, test.status), (200, 200));
        assert_eq!(test.header("idempotent-replayed"), None);
        assert_eq!((refused.status, taken.status), (422, 200));
        assert_eq!(taken.header("idempotent-replayed"), None);
        assert_eq!(server.query_number("select count(*) from idempotency").await, 3);
    }
);

both_backends!(
    async fn a_replay_outlives_the_end_of_its_conversation(db: TestDb) {
        let server = TestServer::start(&db).await;
        let first = post_message_with_key(&server, "Hi", "k").await;
        let con = server.conversation_id(WIDGET).await;
        let path = format!("/v1/conversations/{con}");
        server.request("PATCH", &path).bearer(&server.keys.full).raw_json(r#"{"ended": true}"#).send().await;

        let again = post_message_with_key(&server, "Hi", "k").await;

        assert_eq!((again.status, again.text()), (200, first.text()));
    }
);
