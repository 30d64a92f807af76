//! Order within a conversation, and endpoints that hang beside healthy ones.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

use super::wait_for_all_deliveries;
use crate::support::db::both_backends;
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::receiver::{FakeReceiver, setup, texts};
use crate::support::script::Gate;
use crate::support::wait::wait_for;

const WAITS: &str = "select count(*) from deliveries where state = 'queued' and attempts = 1";

both_backends!(
    async fn events_of_a_conversation_are_delivered_in_order(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let conversation = server.store_message(None, "Before there was an endpoint").await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        let gate = Gate::closed();
        receiver.script().queue([ToolReply::json(&serde_json::json!({})).gated_by(&gate)]);

        server.store_message(Some(&conversation), "0").await;
        receiver.calls().wait_for_count(1).await;
        for number in 1..6 {
            server.store_message(Some(&conversation), &number.to_string()).await;
        }
        server.store_message(None, "Another conversation").await;
        let other = async || {
            texts(&receiver.received("/hook")).contains(&"Another conversation".to_owned()).then_some(())
        };
        wait_for("another conversation's event", other).await;
        assert!(!texts(&receiver.received("/hook")).contains(&"1".to_owned()));
        gate.open();
        wait_for_all_deliveries(&server).await;

        let mut arrived = texts(&receiver.received("/hook"));
        arrived.retain(|text| text != "Another conversation");
        assert_eq!(arrived, ["0", "1", "2", "3", "4", "5"]);
    }
);

both_backends!(
    async fn an_event_waits_at_most_half_a_minute_for_an_earlier_one(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let conversation = server.store_message(None, "Before there was an endpoint").await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        let busy = ToolReply::status(StatusCode::SERVICE_UNAVAILABLE);
        receiver.script().queue([busy.with_header(RETRY_AFTER, "90")]);
        server.store_message(Some(&conversation), "0").await;
        server.store_message(Some(&conversation), "1").await;
        wait_for("the failed one to wait", async || (server.query_number(WAITS).await == 1).then_some(()))
            .await;

        server.advance_clock(&db, Duration::from_secs(31)).await;
        receiver.calls().wait_for_count(2).await;
        server.advance_clock(&db, Duration::from_mins(1)).await;
        wait_for_all_deliveries(&server).await;

        assert_eq!(texts(&receiver.received("/hook")), ["0", "1", "0"]);
    }
);

both_backends!(
    async fn an_old_backlog_is_delivered_in_order(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let conversation = server.store_message(None, "Before there was an endpoint").await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        receiver
            .script()
            .respond_with(move |_| ToolReply::json(&serde_json::json!({})).gated_by(&reply_gate));
        for number in 0..6 {
            server.store_message(Some(&conversation), &number.to_string()).await;
        }
        receiver.calls().wait_for_count(1).await;

        server.advance_clock(&db, Duration::from_secs(31)).await;
        // It is due, and claimed after the others.
        server.store_message(None, "Another conversation").await;
        receiver.calls().wait_for_count(2).await;
        gate.open();
        wait_for_all_deliveries(&server).await;

        let mut arrived = texts(&receiver.received("/hook"));
        arrived.retain(|text| text != "Another conversation");
        assert_eq!(arrived, ["0", "1", "2", "3", "4", "5"]);
        let is_numbered = |request: &ToolRequest| {
            texts(std::slice::from_ref(request)).pop().filter(|text| text.len() == 1).map(|_| ())
        };
        assert!(receiver.calls().overlaps(is_numbered).is_empty());
    }
);

both_backends!(
    async fn endpoints_that_wait_for_ordering_use_no_slots(db: TestDb) {
        let server = setup().env("REJOINDER_WEBHOOKS__TIMEOUT", "30s").start(&db).await;
        let (slow, failing) = (FakeReceiver::start().await, FakeReceiver::start().await);
        let conversation = server.store_message(None, "Before there was an endpoint").await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        slow.script().respond_with(move |_| ToolReply::json(&serde_json::json!({})).gated_by(&reply_gate));
        for number in 0..9 {
            slow.create_endpoint(&server, &db, &format!("/{number}")).await;
        }
        failing.create_endpoint(&server, &db, "/failing").await;
        failing.script().queue([ToolReply::status(StatusCode::BAD_GATEWAY)]);
        server.store_message(Some(&conversation), "0").await;
        slow.calls().wait_for_count(9).await;
        wait_for("the failed one to wait", async || (server.query_number(WAITS).await == 1).then_some(()))
            .await;
        server.store_message(Some(&conversation), "1").await;

        server.advance_clock(&db, Duration::from_secs(7)).await;

        // Each of the other endpoints has one delivery in flight and one that waits for it.
        failing.calls().wait_for_count(3).await;
        assert_eq!(slow.calls().all().len(), 9);
        gate.open();
        wait_for_all_deliveries(&server).await;
    }
);

both_backends!(
    async fn hanging_endpoints_leave_slots_to_others(db: TestDb) {
        let setup = setup()
            .env("REJOINDER_WEBHOOKS__MAX_IN_FLIGHT", "8")
            .env("REJOINDER_WEBHOOKS__MAX_IN_FLIGHT_PER_ENDPOINT", "4")
            .env("REJOINDER_WEBHOOKS__TIMEOUT", "500ms");
        let server = setup.start(&db).await;
        let (good, hung) = (FakeReceiver::start().await, FakeReceiver::start().await);
        let never = Gate::closed();
        let reply_gate = never.clone();
        hung.script().respond_with(move |_| ToolReply::json(&serde_json::json!({})).gated_by(&reply_gate));
        for number in 0..5 {
            hung.create_endpoint(&server, &db, &format!("/{number}")).await;
        }
        good.create_endpoint(&server, &db, "/good").await;

        // More than twice as many deliveries to the hung endpoints as can time out during the test.
        for number in 0..40 {
            server.store_message(None, &number.to_string()).await;
        }

        let arrived = async || (texts(&good.received("/good")).len() == 40).then_some(());
        wait_for("all events at the good endpoint", arrived).await;
        assert!(
            server
                .query_number("select count(*) from deliveries where state = 'queued' and attempts = 0")
                .await
                > 100
        );
    }
);
