//! Deliveries whose owner is fenced off, and endpoints that are disabled after a claim.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::domain::clock::Micros;
use rejoinder::domain::delivery::{
    Attempt, AttemptOutcome, ClaimedDelivery, DeliveryKey, DeliveryOutcome, Disposition, OutcomeWrite,
};
use rejoinder::domain::ids::DeliveryId;
use rejoinder::outbound::{AllowHosts, GuardedClient};
use rejoinder::service::deliver_event::WebhookSender;
use rejoinder::store::deliveries::attempts;
use rejoinder::store::{Conn, Tenant};
use serde_json::json;
use uuid::Uuid;

use super::wait_for_all_deliveries;
use crate::support::db::both_backends;
use crate::support::fake_tool::ToolReply;
use crate::support::proxy::{LinkState, Proxy};
use crate::support::receiver::{FakeReceiver, TestEndpoint, setup};
use crate::support::script::Gate;
use crate::support::server::TestServer;
use crate::support::wait::wait_for;
use crate::support::{seed, store};

const FAILING: &str = "select count(*) from webhook_endpoints where failing_since is not null";

/// The delivery of the last event to an endpoint.
async fn last_delivery(server: &TestServer, endpoint: &TestEndpoint) -> DeliveryKey {
    let cursor = server.query_number("select max(cursor) from deliveries").await;
    DeliveryKey { workspace: endpoint.account.workspace, endpoint: endpoint.id, cursor }
}

/// Records a failed attempt as the owner with this fence.
async fn record_failure(server: &TestServer, key: DeliveryKey, fence: i64) {
    let attempt = Attempt {
        started_at: Micros(0),
        finished_at: Micros(1),
        outcome: AttemptOutcome::Refused,
        status: Some(500),
        excerpt: None,
    };
    let ended = [OutcomeWrite {
        key,
        fence,
        outcome: DeliveryOutcome::Attempted(attempt, Disposition::Retry(Duration::from_hours(1))),
    }];
    let (process, clock) = (server.worker().process(), server.services().clock.as_ref());
    let record = async |conn: Conn<'_>| attempts::record(conn, process, &ended, clock).await;
    server.db().write(Tenant::Process, record).await.unwrap();
}

both_backends!(
    async fn a_fenced_off_process_does_not_report_an_endpoint_as_failing(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        let gate = Gate::closed();
        receiver.script().queue([ToolReply::json(&json!({})).gated_by(&gate)]);
        let conversation = server.store_message(None, "Hi").await;
        receiver.calls().wait_for_count(1).await;
        gate.open();
        wait_for_all_deliveries(&server).await;
        receiver.script().queue([ToolReply::json(&json!({})).gated_by(&Gate::closed())]);
        server.store_message(Some(&conversation), "Under way").await;
        let key = last_delivery(&server, &endpoint).await;
        let running = "select count(*) from deliveries where state = 'running'";
        wait_for("the delivery to be claimed", async || {
            (server.query_number(running).await == 1).then_some(())
        })
        .await;
        let fence = server.query_number("select fence from deliveries where state = 'running'").await;

        record_failure(&server, key, fence - 1).await;
        assert_eq!(server.query_number(FAILING).await, 0);
        record_failure(&server, key, fence).await;
        assert_eq!(server.query_number(FAILING).await, 1);
        assert_eq!(server.query_number("select count(*) from attempts where outcome = 'refused'").await, 1);
    }
);

both_backends!(
    async fn a_claimed_delivery_of_a_disabled_endpoint_is_not_sent(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        wait_for_all_deliveries(&server).await;
        let key = last_delivery(&server, &endpoint).await;
        let id = DeliveryId(Uuid::nil());
        let claimed = ClaimedDelivery { key, id, fence: 1, attempts: 0, attempts_before: 0, replay: false };
        let services = server.services();
        let sender = WebhookSender {
            outbound: GuardedClient::new(AllowHosts::default()).unwrap(),
            seal_keys: services.seal_keys.clone(),
            clock: Arc::clone(&services.clock),
            ids: Arc::clone(&services.ids),
            timeout: Duration::from_secs(1),
        };
        let load = async || sender.load(server.db(), vec![claimed], Micros(0)).await.unwrap();
        assert_eq!(load().await.jobs.len(), 1);

        seed::configure(&db, "update webhook_endpoints set enabled = false, disabled_reason = 'api'").await;

        let loaded = load().await;
        assert_eq!((loaded.jobs.len(), loaded.closed.len(), loaded.waiting), (0, 0, vec![claimed]));
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_taken_over_by_another_process_are_released() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    // A renewal, including its connection, has a sixth of the lease.
    let setup = || setup().env("REJOINDER_TURN__LEASE", "3s").env("REJOINDER_WEBHOOKS__TIMEOUT", "30s");
    let first = setup().system_clock().lease_database_url(proxy.url()).start(&db).await;
    let receiver = FakeReceiver::start().await;
    receiver.create_endpoint(&first, &db, "/hook").await;
    receiver.script().queue([ToolReply::json(&json!({})).gated_by(&Gate::closed())]);
    first.store_message(None, "Hi").await;
    receiver.calls().wait_for_count(1).await;
    let second = first.start_peer(&db, setup().system_clock()).await;

    proxy.set(LinkState::Frozen);
    wait_for_all_deliveries(&second).await;
    assert!(receiver.calls().all()[0].ended.is_none(), "the first still waits for its answer");
    proxy.set(LinkState::Up);

    let abandoned = async || receiver.calls().all()[0].ended.map(|_| ());
    wait_for("the first attempt to be abandoned", abandoned).await;
    assert_eq!(first.query_number("select count(*) from attempts where outcome <> 'delivered'").await, 0);
    assert_eq!(first.query_number("select count(*) from attempts").await, 2);
    first.stop().await;
    second.stop().await;
}
