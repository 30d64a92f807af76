//! Deliveries when processes are killed or stopped, or share the work.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::wait_for_all_deliveries;
use crate::support::db::both_backends;
use crate::support::fake_tool::ToolReply;
use crate::support::receiver::{FakeReceiver, header, setup};
use crate::support::script::Gate;
use crate::support::{seed, store};

both_backends!(
    async fn a_stop_hands_back_unanswered_deliveries_and_the_next_process_repeats_them(db: TestDb) {
        let setup = || setup().env("REJOINDER_SHUTDOWN_GRACE", "100ms").system_clock();
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let never = Gate::closed();
        receiver.script().queue([ToolReply::json(&json!({})).gated_by(&never)]);
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        receiver.calls().wait_for_count(1).await;

        let server = server.restart(&db, setup()).await;
        wait_for_all_deliveries(&server).await;

        let arrived = receiver.received("/hook");
        assert_eq!(arrived.len(), 3, "the delivery in flight twice, the next one once");
        assert_eq!(header(&arrived[0], "webhook-id"), header(&arrived[1], "webhook-id"));
        assert_eq!(arrived[0].body, arrived[1].body);
        assert_eq!(server.query_number("select count(*) from attempts where number = 1").await, 2);
        assert_eq!(
            server.query_number("select count(*) from attempts").await,
            2,
            "no attempt was counted for it"
        );
    }
);

both_backends!(
    async fn deliveries_that_finish_within_the_grace_period_are_recorded(db: TestDb) {
        let server = setup().system_clock().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let gate = Gate::closed();
        receiver.script().queue([ToolReply::json(&json!({})).gated_by(&gate)]);
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        receiver.calls().wait_for_count(1).await;

        tokio::join!(server.stop(), async { gate.open() });

        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries where state = 'delivered'").await,
            1
        );
    }
);

both_backends!(
    async fn in_flight_deliveries_of_a_dead_process_are_sent_by_another(db: TestDb) {
        let setup = || setup().env("REJOINDER_TURN__LEASE", "1s").system_clock();
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        wait_for_all_deliveries(&server).await;
        let dead = seed::literal(&db, Uuid::new_v4());
        let under_way = format!("update deliveries set state = 'running', owner = {dead}, ended_at = null");

        // On PostgreSQL a second process notices the missing lease; on SQLite the next process does at its start.
        seed::execute(&db, &under_way).await;
        let server = server.restart(&db, setup()).await;
        receiver.calls().wait_for_count(4).await;
        wait_for_all_deliveries(&server).await;

        let ids: Vec<_> = receiver
            .received("/hook")
            .iter()
            .map(|request| header(request, "webhook-id").to_owned())
            .collect();
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (4, 2));
        assert_eq!(server.query_number("select count(*) from attempts where number = 2").await, 2);
    }
);

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_deliveries_and_never_send_one_twice() {
    let db = store::postgres().await;
    let server = setup().system_clock().start(&db).await;
    let peer = server.start_peer(&db, setup().system_clock()).await;
    let receiver = FakeReceiver::start().await;
    receiver.script().respond_with(|_| ToolReply::json(&json!({})).after(Duration::from_millis(5)));
    receiver.create_endpoint(&server, &db, "/hook").await;

    let messages = (0..120).map(|number| {
        let server = if number % 2 == 0 { &server } else { &peer };
        async move { server.store_message(None, &number.to_string()).await }
    });
    futures::future::join_all(messages).await;
    wait_for_all_deliveries(&server).await;

    let arrived = receiver.received("/hook");
    let ids: HashSet<_> = arrived.iter().map(|request| header(request, "webhook-id").to_owned()).collect();
    assert_eq!((arrived.len(), ids.len()), (240, 240));
    peer.stop().await;
    server.stop().await;
}
