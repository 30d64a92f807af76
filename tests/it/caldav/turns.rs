//! Turns that stop in the middle of a booking: taken over by another process, or ended.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::{book, cancel, check_availability, result, setup_at, setup_on};
use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::radicale::{CalDavProxy, ProxyAction, Radicale, event};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

/// A CalDAV server that stores the next event and never responds to it.
async fn server_that_waits_for_put(
    proxy: &CalDavProxy,
    setup: Setup,
    db: &crate::support::db::TestDb,
) -> TestServer {
    let server = setup.start(db).await;
    let mut gate = Some(Gate::closed());
    proxy.script().respond_with(move |method| match gate.take_if(|_| *method == Method::PUT) {
        Some(gate) => ProxyAction::HoldResponse(gate),
        None => ProxyAction::Forward,
    });
    server
}

both_backends!(
    async fn a_takeover_finds_the_booking_that_was_already_written(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let setup = || setup_at(&proxy.url(), &proxy.host()).env("REJOINDER_SHUTDOWN_GRACE", "100ms");
        let server = server_that_waits_for_put(&proxy, setup(), &db).await;
        server.model.script().queue([Reply::tool_calls([book("2026-03-18T10:00")]), Reply::text("Booked.")]);
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "At ten, please" });
        let sent = server.enqueue(body.to_string()).send().await.json();
        let con = sent["data"]["conversation_id"].as_str().unwrap().to_owned();
        wait_for("the event", async || (radicale.count().await == 1).then_some(())).await;

        let server = server.restart(&db, setup()).await;

        let messages = server.wait_for_messages(&con, 2).await;
        let reply = &messages[1];
        assert_eq!(reply["text"], "Booked.", "{reply}");
        assert_eq!(reply["function_calls"][0]["result"]["success"], true, "{reply}");
        assert_eq!(radicale.count().await, 1);
        let confirmed = "select count(*) from bookings where held_by is null and cancelled_at is null";
        assert_eq!(server.query_number(confirmed).await, 1);
        let puts = proxy.calls().all();
        assert_eq!(puts.iter().filter(|call| call.request.0 == Method::PUT).count(), 2);
    }
);

both_backends!(
    async fn the_booking_of_a_discarded_turn_is_removed_at_the_next_read(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = server_that_waits_for_put(&proxy, setup_at(&proxy.url(), &proxy.host()), &db).await;
        server.model.script().queue([Reply::tool_calls([book("2026-03-18T10:00")])]);
        let in_flight = tokio::spawn(server.post_message(WIDGET, "At ten, please").send());
        wait_for("the event", async || (radicale.count().await == 1).then_some(())).await;
        let other = server.create_conversation().await;
        let taken = result(&server, &other, check_availability("2026-03-18", "2026-03-18")).await;

        let path = format!("/api/automate/conversations/{WIDGET}/disable-ai");
        server.request("POST", &path).bearer(&server.keys.full).send().await;
        in_flight.await.unwrap();
        let free = result(&server, &other, check_availability("2026-03-18", "2026-03-18")).await;
        let gone = radicale.count().await;
        let booked = result(&server, &other, book("2026-03-18T10:00")).await;

        assert_eq!(taken["available_slots"], json!(["2026-03-18 09:00", "2026-03-18 11:00"]));
        assert_eq!(free["available_slots"].as_array().unwrap().len(), 3);
        assert_eq!(gone, 0);
        assert_eq!(booked["success"], true, "{booked}");
    }
);

both_backends!(
    async fn an_event_written_after_its_cancellation_is_not_a_booking(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        let name = radicale.of_calls().await.pop().unwrap();
        assert_eq!(result(&server, WIDGET, cancel(&booked["booking_id"])).await["success"], true);

        // A process that was frozen before it wrote the event wakes up.
        let lines = "DTSTART:20260318T090000Z\nDTEND:20260318T100000Z";
        radicale.put(&name, &event(name.trim_end_matches(".ics"), lines)).await;
        let free = result(&server, WIDGET, check_availability("2026-03-18", "2026-03-18")).await;

        assert_eq!(free["available_slots"].as_array().unwrap().len(), 3, "{free}");
        assert_eq!(radicale.count().await, 0);
    }
);
