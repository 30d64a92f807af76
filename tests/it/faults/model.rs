//! Model errors: retries, fallbacks, and the end of a turn.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::{FakeModel, Reply};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

const SECOND: i64 = 1_000_000;

/// Sends a platform message, and returns its conversation and its turn.
async fn send(server: &TestServer, text: &str) -> (String, String) {
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
    let answer = server.enqueue(body).send().await;
    let con = answer.json()["data"]["conversation_id"].as_str().unwrap().to_owned();
    (con, answer.header("rejoinder-turn").unwrap().to_owned())
}

/// Waits until a turn in this state has been postponed, and returns by how much, in microseconds since its admission.
async fn wait_for_delay(server: &TestServer, state: &str) -> i64 {
    let query = format!(
        "select coalesce(max(not_before - admitted_at), 0) from turns where state = '{state}' and not_before > admitted_at"
    );
    wait_for(state, async || Some(server.query_number(&query).await).filter(|delay| *delay > SECOND / 2))
        .await
}

both_backends!(
    async fn a_retry_after_of_a_day_is_capped_at_a_minute(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "5").system_clock().start(&db).await;
        server.model.script().queue([Reply::rate_limited(Some("86400"))]);

        send(&server, "Hi").await;

        let delay = wait_for_delay(&server, "running").await;
        assert!((60 * SECOND..75 * SECOND).contains(&delay), "{delay}");
        assert_eq!(server.query_number("select max(attempts) from turns").await, 1);
    }
);

both_backends!(
    async fn a_turn_is_queued_without_an_attempt_while_all_models_are_rate_limited(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        server.model.script().queue([Reply::rate_limited(Some("86400"))]);
        send(&server, "Hi").await;
        server.wait_for_events("reply.failed", 1).await;

        let (_, turn) = send(&server, "Hi again").await;

        let delay = wait_for_delay(&server, "queued").await;
        assert!((30 * SECOND..75 * SECOND).contains(&delay), "{delay}");
        let queued = "select attempts from turns where state = 'queued' and owner is null";
        assert_eq!(server.query_number(queued).await, 0);
        assert_eq!(server.get(&format!("/v1/turns/{turn}")).await.json()["data"]["state"], "queued");
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn a_fallback_model_answers_within_the_attempt(db: TestDb) {
        let backup = Arc::new(FakeModel::start().await);
        backup.script().respond_with(|_| Reply::text("From the backup."));
        let server = Setup::default()
            .env("REJOINDER_CONNECTIONS__BACKUP__BASE_URL", &backup.base_url())
            .workspace(|text| {
                let named = "name = \"Front desk\"";
                let with = format!("{named}\nfallbacks = [{{ connection = \"backup\", model = \"spare\" }}]");
                text.replace(named, &with)
            })
            .start(&db)
            .await;
        server.model.script().queue([Reply::rate_limited(Some("60"))]);

        for _ in 0..2 {
            let answer = server.post_message(WIDGET, "Hi").send().await;
            assert_eq!(answer.text(), r#"{"status":true,"message":"From the backup.","function_calls":[]}"#);
        }

        assert_eq!(server.model.calls().all().len(), 1, "the model is not called");
        let asked = backup.calls().all();
        assert_eq!((asked.len(), &asked[0].request.body["model"]), (2, &json!("spare")));
        assert_eq!(server.query_number("select max(attempts) from turns").await, 0);
        assert_eq!(server.balance().await, "9.98");
    }
);

both_backends!(
    async fn a_turn_fails_with_a_reason_after_its_last_attempt(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").system_clock().start(&db).await;
        let faults = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY];
        server.model.script().queue(faults.map(|status| Reply::error(status, "Oops")));

        let (con, turn) = send(&server, "Hi").await;

        let failed = server.wait_for_events("reply.failed", 1).await;
        assert_eq!(failed[0]["data"]["turn_id"], turn);
        assert_eq!(failed[0]["data"]["reason"], "model_unavailable");
        assert_eq!(server.model.calls().all().len(), 2);
        assert_eq!(server.messages(&con).await.len(), 1);
    }
);

both_backends!(
    async fn a_turn_that_is_too_old_is_not_retried(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "5").system_clock();
        // Less than the pause before the next attempt, and more than it takes until the first call.
        let server = setup.env("REJOINDER_TURN__MAX_AGE", "700ms").start(&db).await;
        server.model.script().respond_with(|_| Reply::error(StatusCode::BAD_GATEWAY, "Oops"));

        send(&server, "Hi").await;

        server.wait_for_events("reply.failed", 1).await;
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn no_reply_is_stored_after_the_deadline(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_WIDGET__DEADLINE", "500ms").system_clock().start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Too late.").gated_by(&gate)]);
        let con = server.conversation_id(WIDGET).await;

        let late = server.post_message(WIDGET, "Hi").send().await;
        let hung_up = async || server.model.calls().all()[0].ended;
        wait_for("the call to be dropped", hung_up).await;
        gate.open();
        let next = server.post_message(WIDGET, "Hi again").send().await;

        let expected = r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#;
        assert_eq!((late.status, late.text()), (400, expected));
        assert_eq!(next.status, 200);
        assert_eq!(server.messages(&con).await.len(), 4, "the first message, two user messages, one reply");
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn waiting_for_model_concurrency_does_not_count_as_attempt_time(db: TestDb) {
        let setup = Setup::default()
            .env("REJOINDER_MODEL__MAX_IN_FLIGHT", "1")
            .env("REJOINDER_TURN__DEADLINE", "3s")
            .system_clock();
        let server = setup.start(&db).await;
        server.model.script().respond_with(|_| Reply::text("Yes.").after(Duration::from_millis(300)));

        for _ in 0..14 {
            send(&server, "Hi").await;
        }

        server.wait_for_events("message.created", 28).await;
        let calls = server.model.calls();
        assert_eq!((calls.all().len(), calls.overlaps(|_| Some(()))), (14, vec![]));
    }
);
