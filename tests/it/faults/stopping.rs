//! A graceful stop: turns with a waiting request fail and are refunded, and other turns are handed back.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::server::{Setup, WIDGET};
use crate::support::wait::within;
use crate::support::{seed, store};

both_backends!(
    async fn a_stop_refunds_waiting_requests_and_hands_back_other_turns(db: TestDb) {
        // One slot for each API, so the second widget message is queued.
        let setup = Setup::default()
            .env("REJOINDER_TURN__MAX_IN_FLIGHT", "2")
            .env("REJOINDER_SHUTDOWN_GRACE", "100ms")
            .system_clock();
        let server = setup.start(&db).await;
        let never = Gate::closed();
        let reply_gate = never.clone();
        server.model.script().respond_with(move |_| Reply::text("Never.").gated_by(&reply_gate));
        let other = server.create_conversation().await;
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" }).to_string();
        server.enqueue(body).send().await;
        let running = tokio::spawn(server.post_message(WIDGET, "Runs").send());
        server.model.calls().wait_for_count(2).await;
        let queued = tokio::spawn(server.post_message(&other, "Waits for a slot").send());
        server.wait_for_events("message.created", 3).await;

        server.stop().await;

        let expected =
            r#"{"status":false,"error":"Failed to process message: The service is temporarily unavailable"}"#;
        for answer in [running.await.unwrap(), queued.await.unwrap()] {
            assert_eq!((answer.status, answer.text()), (400, expected));
            assert_eq!(answer.header("rejoinder-error"), Some("service_unavailable"));
        }
        let count = async |query: &'static str| seed::query_number(&db, query).await;
        let refunded = "select cast(sum(amount) as bigint) from ledger where kind <> 'top_up'";
        assert_eq!(count(refunded).await, 0);
        assert_eq!(count("select count(*) from turns where state = 'failed'").await, 2);
        let handed_back =
            "select count(*) from turns where state = 'queued' and owner is null and attempts = 0";
        assert_eq!(count(handed_back).await, 1);
        assert_eq!(count("select count(*) from processes").await, 0);
    }
);

both_backends!(
    async fn turns_that_finish_within_the_grace_period_complete(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Here it is.").gated_by(&gate)]);
        let running = tokio::spawn(server.post_message(WIDGET, "Hi").send());
        server.model.calls().wait_for_count(1).await;

        let ((), answer) = tokio::join!(server.stop(), async {
            gate.open();
            running.await.unwrap()
        });

        assert_eq!(answer.text(), r#"{"status":true,"message":"Here it is.","function_calls":[]}"#);
    }
);

/// On SQLite only, because on PostgreSQL another process could still run the turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_requests_for_unstarted_turns_within_the_grace_period() {
    let db = store::sqlite().await;
    let setup = Setup::default()
        .env("REJOINDER_TURN__MAX_IN_FLIGHT", "2")
        .env("REJOINDER_SHUTDOWN_GRACE", "10m")
        .system_clock();
    let server = setup.start(&db).await;
    let gate = Gate::closed();
    server.model.script().queue([Reply::text("Here it is.").gated_by(&gate)]);
    let other = server.create_conversation().await;
    let running = tokio::spawn(server.post_message(WIDGET, "Runs").send());
    server.model.calls().wait_for_count(1).await;
    let queued = tokio::spawn(server.post_message(&other, "Waits for a slot").send());
    server.wait_for_events("message.created", 2).await;

    let ((), answer) = tokio::join!(within("the stop", server.stop()), async {
        gate.open();
        running.await.unwrap()
    });

    assert_eq!(answer.status, 200, "a running turn may finish");
    let refused = queued.await.unwrap();
    assert_eq!((refused.status, refused.header("rejoinder-error")), (400, Some("service_unavailable")));
}
