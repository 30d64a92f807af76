//! Order within a conversation, and endpoints that hang while others do not.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

use super::{all_ended, store};
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
        let conversation = store(&server, None, "Before there was an endpoint").await;
        receiver.hook(&server, &db, "/hook").await;
        let gate = Gate::closed();
        receiver.script().queue([ToolReply::json(&serde_json::json!({})).held_by(&gate)]);

        store(&server, Some(&conversation), "0").await;
        receiver.calls().arrived(1).await;
        for number in 1..6 {
            store(&server, Some(&conversation), &number.to_string()).await;
        }
        store(&server, None, "Another conversation").await;
        let other = async || {
            texts(&receiver.received("/hook")).contains(&"Another conversation".to_owned()).then_some(())
        };
        wait_for("another conversation's event", other).await;
        assert!(!texts(&receiver.received("/hook")).contains(&"1".to_owned()));
        gate.open();
        all_ended(&server).await;

        let mut arrived = texts(&receiver.received("/hook"));
        arrived.retain(|text| text != "Another conversation");
        assert_eq!(arrived, ["0", "1", "2", "3", "4", "5"]);
    }
);

both_backends!(
    async fn an_event_waits_at_most_half_a_minute_for_an_earlier_one(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let conversation = store(&server, None, "Before there was an endpoint").await;
        receiver.hook(&server, &db, "/hook").await;
        let busy = ToolReply::status(StatusCode::SERVICE_UNAVAILABLE);
        receiver.script().queue([busy.with_header(RETRY_AFTER, "90")]);
        store(&server, Some(&conversation), "0").await;
        store(&server, Some(&conversation), "1").await;
        wait_for("the failed one to wait", async || (server.number(WAITS).await == 1).then_some(())).await;

        server.advance(&db, Duration::from_secs(31)).await;
        receiver.calls().arrived(2).await;
        server.advance(&db, Duration::from_mins(1)).await;
        all_ended(&server).await;

        assert_eq!(texts(&receiver.received("/hook")), ["0", "1", "0"]);
    }
);

both_backends!(
    async fn an_old_backlog_is_delivered_in_order(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let conversation = store(&server, None, "Before there was an endpoint").await;
        receiver.hook(&server, &db, "/hook").await;
        let gate = Gate::closed();
        let held = gate.clone();
        receiver.script().otherwise(move |_| ToolReply::json(&serde_json::json!({})).held_by(&held));
        for number in 0..6 {
            store(&server, Some(&conversation), &number.to_string()).await;
        }
        receiver.calls().arrived(1).await;

        server.advance(&db, Duration::from_secs(31)).await;
        // It may go, and is asked for after the others.
        store(&server, None, "Another conversation").await;
        receiver.calls().arrived(2).await;
        gate.open();
        all_ended(&server).await;

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
        let conversation = store(&server, None, "Before there was an endpoint").await;
        let gate = Gate::closed();
        let held = gate.clone();
        slow.script().otherwise(move |_| ToolReply::json(&serde_json::json!({})).held_by(&held));
        for number in 0..9 {
            slow.hook(&server, &db, &format!("/{number}")).await;
        }
        failing.hook(&server, &db, "/failing").await;
        failing.script().queue([ToolReply::status(StatusCode::BAD_GATEWAY)]);
        store(&server, Some(&conversation), "0").await;
        slow.calls().arrived(9).await;
        wait_for("the failed one to wait", async || (server.number(WAITS).await == 1).then_some(())).await;
        store(&server, Some(&conversation), "1").await;

        server.advance(&db, Duration::from_secs(7)).await;

        // While the others have one under way, and one each that waits for it.
        failing.calls().arrived(3).await;
        assert_eq!(slow.calls().all().len(), 9);
        gate.open();
        all_ended(&server).await;
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
        let held = never.clone();
        hung.script().otherwise(move |_| ToolReply::json(&serde_json::json!({})).held_by(&held));
        for number in 0..5 {
            hung.hook(&server, &db, &format!("/{number}")).await;
        }
        good.hook(&server, &db, "/good").await;

        // More than twice as many attempts at the hung ones as there is time for.
        for number in 0..40 {
            store(&server, None, &number.to_string()).await;
        }

        let arrived = async || (texts(&good.received("/good")).len() == 40).then_some(());
        wait_for("all events at the good endpoint", arrived).await;
        assert!(
            server.number("select count(*) from deliveries where state = 'queued' and attempts = 0").await
                > 100
        );
    }
);
