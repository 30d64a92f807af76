//! Erasures remove appointments from their server, a few at once; a server that fails delays them once.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::{book, result, setup_at, setup_on};
use crate::support::db::both_backends;
use crate::support::radicale::{CalDavProxy, ProxyAction, Radicale};
use crate::support::script::Gate;
use crate::support::server::{TestServer, WIDGET};
use crate::support::wait::wait_for;
use crate::v1::keys::create;

/// More than are removed at once.
const BOOKINGS: [&str; 6] = [
    "2026-03-18T09:00",
    "2026-03-18T10:00",
    "2026-03-18T11:00",
    "2026-03-19T09:00",
    "2026-03-19T10:00",
    "2026-03-19T11:00",
];
/// How many appointments an erasure removes at once.
const AT_ONCE: usize = 4;

/// The erasure of a conversation, with the key that may read it.
struct Erasing<'a> {
    server: &'a TestServer,
    key: String,
    path: String,
}

impl<'a> Erasing<'a> {
    async fn begin(server: &'a TestServer) -> Self {
        let (key, _) = create(server, &[Scope::Erase]).await;
        let path = format!("/v1/conversations/{}", server.conversation_id(WIDGET).await);
        let accepted = server.request("DELETE", &path).bearer(&key).send().await.json();
        let path = format!("/v1/erasures/{}", accepted["data"]["id"].as_str().unwrap());
        Self { server, key, path }
    }

    async fn wait_until_done(&self) -> Value {
        let done = async || {
            let read = self.server.request("GET", &self.path).bearer(&self.key).send().await.json();
            Some(read["data"].clone()).filter(|erasure| erasure["state"] == "done")
        };
        let erasure = wait_for("the erasure to be done", done).await;
        let left =
            "select count(*) from bookings where name is not null or title <> '' or cancelled_at is null";
        assert_eq!(self.server.query_number(left).await, 0);
        erasure
    }
}

async fn book_all(server: &TestServer) {
    for datetime in BOOKINGS {
        let booked = result(server, WIDGET, book(datetime)).await;
        assert_eq!(booked["success"], true, "{booked}");
    }
}

both_backends!(
    async fn an_erasure_removes_the_appointment_from_its_server(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        result(&server, WIDGET, book("2026-03-18T10:00")).await;
        assert_eq!(radicale.count().await, 1);

        let erasure = Erasing::begin(&server).await.wait_until_done().await;

        assert_eq!(radicale.count().await, 0);
        assert_eq!((&erasure["removed"]["bookings"], &erasure["remaining"]), (&json!(1), &json!([])));
    }
);

both_backends!(
    async fn a_slow_server_is_asked_to_remove_a_few_at_once(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        book_all(&server).await;
        let (gate, before) = (Gate::closed(), proxy.calls().all().len());
        let held = gate.clone();
        proxy.script().respond_with(move |_| ProxyAction::HoldResponse(held.clone()));

        let erasing = Erasing::begin(&server).await;
        proxy.calls().wait_for_count(before + AT_ONCE).await;
        let at_once = proxy.calls().all().len() - before;
        gate.open();
        let erasure = erasing.wait_until_done().await;

        assert_eq!(at_once, AT_ONCE);
        assert_eq!(radicale.count().await, 0);
        assert_eq!((&erasure["removed"]["bookings"], &erasure["remaining"]), (&json!(6), &json!([])));
    }
);

both_backends!(
    async fn the_appointments_of_a_server_that_fails_are_named_without_trying_each(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        book_all(&server).await;
        let before = proxy.calls().all().len();
        proxy.script().respond_with(|_| ProxyAction::Disconnect);

        let erasing = Erasing::begin(&server).await;
        // The pause before the next attempt is set by the clock, so the clock may advance only after that: a claim lasts 15 s, a pause 5 s.
        let paused = "select count(*) from erasures \
            where failing_calendars <> '{}' and claimed_until < created_at + 15000000";
        let is_paused = async || (server.query_number(paused).await == 1).then_some(());
        wait_for("the failure to be noted", is_paused).await;
        server.advance_clock(&db, Duration::from_secs(31)).await;
        let erasure = erasing.wait_until_done().await;

        assert_eq!((&erasure["removed"]["bookings"], &erasure["remaining_count"]), (&json!(6), &json!(6)));
        assert_eq!(erasure["remaining"].as_array().unwrap().len(), 6);
        assert_eq!(radicale.count().await, 6);
        let tried = proxy.calls().all().len() - before;
        assert!(tried <= AT_ONCE * 2, "{tried} requests");
    }
);
