//! The outcome of an attempt for each kind of response.

use std::collections::HashSet;
use std::time::Duration;

use http::{StatusCode, header};
use rejoinder::domain::webhook_endpoint::{EndpointPatch, Switch};
use rejoinder::service::webhook_endpoints;

use super::wait_for_all_deliveries;
use crate::support::db::{TestDb, both_backends};
use crate::support::fake_tool::ToolReply;
use crate::support::receiver::{self, FakeReceiver, setup};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::TestServer;
use crate::support::wait::wait_for;

const WAITS: &str =
    "select count(*) from deliveries where state = 'queued' and attempts = 1 and owner is null";
const FAILED: &str =
    "select count(*) from deliveries where state = 'failed' and attempts = 10 and ended_at is not null";

/// Waits for this many attempts. Returns the outcome and status of each, and the seconds until the next attempt.
async fn attempts(server: &TestServer, db: &TestDb, count: i64) -> Vec<String> {
    let attempted =
        async || (server.query_number("select count(*) from attempts").await == count).then_some(());
    wait_for(&format!("{count} attempts"), attempted).await;
    seed::query_texts(
        db,
        "select distinct a.outcome || ' ' || coalesce(cast(a.status as text), '-') || ' ' || d.state \
         from attempts a join deliveries d on d.endpoint_id = a.endpoint_id and d.cursor = a.cursor",
    )
    .await
}

both_backends!(
    async fn a_redirect_is_a_failure_and_is_not_followed(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        receiver.script().respond_with(|_| {
            ToolReply::status(StatusCode::FOUND)
                .with_header(header::LOCATION, "http://169.254.169.254/latest/meta-data")
        });

        server.store_message(None, "Hi").await;

        assert_eq!(attempts(&server, &db, 1).await, ["redirected 302 queued"]);
        assert_eq!(receiver.calls().all().len(), 1);
    }
);

both_backends!(
    async fn a_secret_of_another_endpoint_signs_nothing(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.create_endpoint(&server, &db, "/first").await;
        receiver.create_endpoint(&server, &db, "/second").await;
        // Both get the same, so one gets that of the other.
        let copy = "update webhook_endpoints set secret = (select min(secret) from webhook_endpoints)";
        seed::configure(&db, copy).await;

        server.store_message(None, "Hi").await;

        let mut attempts = attempts(&server, &db, 3).await;
        attempts.sort();
        assert_eq!(attempts, ["delivered 200 delivered", "unsigned - queued"]);
        let paths: HashSet<_> =
            receiver.calls().all().iter().map(|call| call.request.uri.path().to_owned()).collect();
        assert_eq!(paths.len(), 1, "{paths:?}");
    }
);

both_backends!(
    async fn a_delivery_without_a_response_records_the_reason(db: TestDb) {
        let server = setup().env("REJOINDER_WEBHOOKS__TIMEOUT", "300ms").start(&db).await;
        let slow = FakeReceiver::start().await;
        let never = Gate::closed();
        slow.script().respond_with(move |_| ToolReply::json(&serde_json::json!({})).gated_by(&never));
        slow.create_endpoint(&server, &db, "/slow").await;
        receiver::create_endpoint(&server, &db, receiver::start_disconnecting_server().await).await;
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        receiver::create_endpoint(&server, &db, format!("http://{nobody}/")).await;
        receiver::create_endpoint(&server, &db, "http://localhost:9/".to_owned()).await;

        server.store_message(None, "Hi").await;

        let mut attempts_by_endpoint = attempts(&server, &db, 4).await;
        attempts_by_endpoint.sort();
        assert_eq!(
            attempts_by_endpoint,
            ["blocked - queued", "broken - queued", "timed_out - queued", "unreachable - queued"]
        );
        assert_eq!(
            server
                .query_number("select count(*) from webhook_endpoints where failing_since is not null")
                .await,
            4
        );
    }
);

both_backends!(
    async fn a_response_counts_even_if_its_body_never_ends(db: TestDb) {
        let server = setup().env("REJOINDER_WEBHOOKS__TIMEOUT", "30s").start(&db).await;
        let conversation = server.store_message(None, "Before there was an endpoint").await;
        receiver::create_endpoint(&server, &db, receiver::start_stalling_server().await).await;

        server.store_message(Some(&conversation), "Hi").await;

        wait_for_all_deliveries(&server).await;
        assert_eq!(
            seed::query_texts(&db, "select outcome || ' ' || excerpt from attempts").await,
            ["delivered To be"]
        );
    }
);

both_backends!(
    async fn retry_after_replaces_the_backoff(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let busy = ToolReply::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, "90");
        receiver.script().queue([busy.with_body("Not now. ".repeat(1000))]);
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        receiver.calls().wait_for_count(1).await;
        wait_for("the failed one to wait", async || (server.query_number(WAITS).await == 1).then_some(()))
            .await;

        server.advance_clock(&db, Duration::from_secs(80)).await;
        // The next event of the conversation waits for half a minute at most.
        receiver.calls().wait_for_count(2).await;
        assert_eq!(server.query_number(WAITS).await, 1);
        server.advance_clock(&db, Duration::from_secs(10)).await;
        wait_for_all_deliveries(&server).await;

        assert_eq!(
            server
                .query_number("select count(*) from attempts where status = 429 and length(excerpt) = 2048")
                .await,
            1
        );
    }
);

both_backends!(
    async fn a_410_disables_the_endpoint_until_it_is_enabled_again(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.script().queue([ToolReply::status(StatusCode::GONE)]);
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        let conversation = server.store_message(None, "Hi").await;
        let events = server.wait_for_events("webhook_endpoint.disabled", 1).await;
        assert_eq!(
            events[0]["data"]["webhook_endpoint_id"].as_str(),
            Some(endpoint.id.to_string().as_str()),
            "{events:?}"
        );
        let came = receiver.calls().all().len();

        server.store_message(Some(&conversation), "No endpoint gets this").await;
        server.advance_clock(&db, Duration::from_secs(7)).await;
        let on = EndpointPatch { switch: Some(Switch::On), ..EndpointPatch::default() };
        assert_eq!(receiver.calls().all().len(), came);
        webhook_endpoints::update(server.services(), &endpoint.account, &endpoint.id.to_string(), on)
            .await
            .unwrap();
        wait_for_all_deliveries(&server).await;

        assert_eq!(server.query_number("select count(*) from deliveries where state = 'delivered'").await, 2);
    }
);

both_backends!(
    async fn an_endpoint_that_has_failed_for_five_days_is_disabled(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.script().respond_with(|_| ToolReply::status(StatusCode::BAD_GATEWAY));
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        attempts(&server, &db, 1).await;
        server.advance_clock(&db, Duration::from_hours(119)).await;
        attempts(&server, &db, 3).await;
        server.advance_clock(&db, Duration::from_hours(2)).await;
        attempts(&server, &db, 5).await;
        assert!(server.events("webhook_endpoint.disabled").await.is_empty(), "no delivery has failed yet");

        seed::execute(&db, "update deliveries set attempts = 9").await;
        server.advance_clock(&db, Duration::from_hours(24)).await;

        let events = server.wait_for_events("webhook_endpoint.disabled", 1).await;
        assert_eq!(events[0]["data"]["reason"], "failing", "{events:?}");
    }
);

both_backends!(
    async fn a_delivery_fails_after_its_last_attempt(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.script().respond_with(|_| ToolReply::status(StatusCode::NOT_FOUND));
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        attempts(&server, &db, 1).await;
        seed::execute(&db, "update deliveries set attempts = 9").await;

        server.advance_clock(&db, Duration::from_secs(31)).await;

        wait_for_all_deliveries(&server).await;
        assert_eq!(server.query_number(FAILED).await, 2);
    }
);
