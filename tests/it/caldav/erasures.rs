//! Erasures remove appointments from their server, a few at once; a server that fails delays them once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::{book, result, setup_at, setup_on};
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::radicale::{CalDavProxy, ProxyAction, Radicale};
use crate::support::script::Gate;
use crate::support::seed;
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

/// The condition for the pause after the failure of a server. It is set by the clock, so the clock may advance only after that: a claim
/// lasts 15 s, a pause 5 s.
const PAUSED: &str = "select count(*) from erasures \
    where failing_calendars <> '{}' and claimed_until between created_at + 1 and created_at + 14999999";

/// The response of a server that fails.
fn unavailable() -> ProxyAction {
    ProxyAction::Respond(StatusCode::SERVICE_UNAVAILABLE, Bytes::new())
}

async fn wait_until_paused(server: &TestServer) {
    let is_paused = async || (server.query_number(PAUSED).await == 1).then_some(());
    wait_for("the failure to be noted", is_paused).await;
}

/// Moves the clock, and has the erasures looked at that wait for it.
async fn advance_clock(server: &TestServer, db: &TestDb, by: Duration) {
    server.advance_clock(db, by).await;
    server.services().erasures_changed.notify_one();
}

/// An erasure, with the key that may read it.
struct Erasing<'a> {
    server: &'a TestServer,
    key: String,
    path: String,
}

impl<'a> Erasing<'a> {
    /// That of the visitor's conversation.
    async fn begin(server: &'a TestServer) -> Self {
        let path = format!("/v1/conversations/{}", server.conversation_id(WIDGET).await);
        Self::send(server, "DELETE", &path, &json!({})).await
    }

    async fn send(server: &'a TestServer, method: &str, path: &str, body: &Value) -> Self {
        let (key, _) = create(server, &[Scope::Erase]).await;
        let accepted = server.request(method, path).bearer(&key).json(body).send().await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        let accepted = accepted.json();
        let path = format!("/v1/erasures/{}", accepted["data"]["id"].as_str().unwrap());
        Self { server, key, path }
    }

    async fn read(&self) -> Value {
        self.server.request("GET", &self.path).bearer(&self.key).send().await.json()["data"].clone()
    }

    async fn wait_until_done(&self) -> Value {
        let done = async || Some(self.read().await).filter(|erasure| erasure["state"] == "done");
        wait_for("the erasure to be done", done).await
    }

    /// Waits until nothing is left of any booking, and all are cancelled.
    async fn wait_until_all_are_erased(&self) -> Value {
        let erasure = self.wait_until_done().await;
        let left =
            "select count(*) from bookings where name is not null or title <> '' or cancelled_at is null";
        assert_eq!(self.server.query_number(left).await, 0);
        erasure
    }
}

async fn book_all(server: &TestServer) {
    for start in BOOKINGS {
        let booked = result(server, WIDGET, book(start)).await;
        assert_eq!(booked["success"], true, "{booked}");
    }
}

both_backends!(
    async fn an_erasure_removes_the_appointment_from_its_server(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        result(&server, WIDGET, book("2026-03-18T10:00")).await;
        assert_eq!(radicale.count().await, 1);

        let erasure = Erasing::begin(&server).await.wait_until_all_are_erased().await;

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
        let erasure = erasing.wait_until_all_are_erased().await;

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
        let variables = "update conversations set visitor_variables = '{\"name\":\"Ada\"}'";
        seed::execute(&db, variables).await;
        let before = proxy.calls().all().len();
        // Whatever the database: one that hangs takes some seconds.
        let failure = match db.backend() {
            Backend::Sqlite => ProxyAction::Hang,
            Backend::Postgres => unavailable(),
        };
        proxy.script().respond_with(move |_| failure.clone());

        let erasing = Erasing::begin(&server).await;
        wait_until_paused(&server).await;
        let state = erasing.read().await["state"].clone();
        for left in [
            "messages join conversations c on c.id = conversation_id where deleted_at is not null \
             and (text <> '' or function_calls is not null)",
            "message_index join conversations c on c.id = conversation_id where deleted_at is not null",
            "conversations where deleted_at is not null and (key_variables <> '{}' or visitor_variables <> '{}')",
            "bookings where name is not null or title <> ''",
        ] {
            let count = format!("select count(*) from {left}");
            assert_eq!(server.query_number(&count).await, 0, "{left}");
        }
        advance_clock(&server, &db, Duration::from_secs(31)).await;
        let erasure = erasing.wait_until_all_are_erased().await;

        assert_eq!(state, "running", "what people wrote goes before the server is given up");
        assert_eq!((&erasure["removed"]["bookings"], &erasure["remaining_count"]), (&json!(6), &json!(6)));
        assert_eq!(erasure["remaining"].as_array().unwrap().len(), 6);
        assert_eq!(radicale.count().await, 6);
        let tried = proxy.calls().all().len() - before;
        assert!(tried <= AT_ONCE * 2, "{tried} requests");
    }
);

both_backends!(
    async fn a_persons_erasure_waits_for_another_one_and_names_what_that_leaves(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        book_all(&server).await;
        let con = server.conversation_id(WIDGET).await;
        let body = json!({
            "conversation_id": con, "sender_id": "ada", "sender_type": "user", "text": "Hi", "auto_reply": false,
        });
        assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
        proxy.script().respond_with(|_| unavailable());

        let of_conversation = Erasing::begin(&server).await;
        wait_until_paused(&server).await;
        let person = json!({ "sender_id": "ada" });
        let of_person = Erasing::send(&server, "POST", "/v1/erasures", &person).await;
        let is_waiting = "select count(*) from awaited_conversations";
        let is_waiting = async || (server.query_number(is_waiting).await == 1).then_some(());
        wait_for("the second erasure to wait", is_waiting).await;
        let meanwhile = of_person.read().await;
        advance_clock(&server, &db, Duration::from_secs(31)).await;
        let first = of_conversation.wait_until_all_are_erased().await;
        let done = async || {
            // It looks again after a pause of the clock.
            advance_clock(&server, &db, Duration::from_secs(6)).await;
            Some(of_person.read().await).filter(|erasure| erasure["state"] == "done")
        };
        let second = wait_for("the second erasure to be done", done).await;

        assert_eq!(meanwhile["state"], "running", "the data is still there");
        assert_eq!((&first["remaining_count"], &second["remaining_count"]), (&json!(6), &json!(6)));
        let events = |erasure: &Value| -> BTreeSet<String> {
            let remaining = erasure["remaining"].as_array().unwrap().iter();
            remaining.map(|appointment| appointment["event"].to_string()).collect()
        };
        assert_eq!(events(&first), events(&second));
        assert_eq!(second["removed"]["conversations"], 0, "each is counted once");
        assert_eq!(server.query_number("select count(*) from awaited_conversations").await, 0);
    }
);

both_backends!(
    async fn a_single_booking_is_removed_from_its_server_or_named(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let bookings = format!("{}/bookings", server.calendar().await);
        let mut paths = Vec::new();
        for start in &BOOKINGS[..2] {
            let body = json!({ "start": start, "title": "Demo", "name": "Ada" });
            let booked = server.request("POST", &bookings).bearer(&server.keys.full).json(&body).send().await;
            assert_eq!(booked.status, 200, "{}", booked.text());
            paths.push(format!("{bookings}/{}", booked.json()["data"]["id"].as_str().unwrap()));
        }

        let removed = Erasing::send(&server, "DELETE", &paths[0], &json!({})).await;
        let removed = removed.wait_until_done().await;
        assert_eq!((&removed["removed"]["bookings"], &removed["remaining"]), (&json!(1), &json!([])));
        assert_eq!(radicale.count().await, 1);
        proxy.script().respond_with(|_| unavailable());
        let failing = Erasing::send(&server, "DELETE", &paths[1], &json!({})).await;
        wait_until_paused(&server).await;
        advance_clock(&server, &db, Duration::from_secs(31)).await;
        let failing = failing.wait_until_all_are_erased().await;

        let id = paths[1].rsplit('/').next().unwrap();
        assert_eq!(
            (&failing["booking_id"], &failing["remaining"][0]["booking_id"]),
            (&json!(id), &json!(id))
        );
        assert_eq!(failing["remaining_count"], 1);
        // Asked for again, the booking has nothing left to remove, but its copy is still there.
        let again =
            Erasing::send(&server, "DELETE", &paths[1], &json!({})).await.wait_until_all_are_erased().await;
        assert_eq!((&again["removed"]["bookings"], &again["remaining_count"]), (&json!(0), &json!(1)));
    }
);

both_backends!(
    async fn an_appointment_that_is_over_loses_its_copy_and_keeps_its_state(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let bookings = format!("{}/bookings", server.calendar().await);
        let body = json!({ "start": BOOKINGS[0], "title": "Demo", "name": "Ada" });
        let booked = server.request("POST", &bookings).bearer(&server.keys.full).json(&body).send().await;
        assert_eq!(booked.status, 200, "{}", booked.text());
        let path = format!("{bookings}/{}", booked.json()["data"]["id"].as_str().unwrap());
        server.advance_clock(&db, Duration::from_hours(24 * 7)).await;

        let erasure = Erasing::send(&server, "DELETE", &path, &json!({})).await.wait_until_done().await;

        assert_eq!((&erasure["removed"]["bookings"], &erasure["remaining"]), (&json!(1), &json!([])));
        assert_eq!(radicale.count().await, 0);
        let after = server.get(&path).await.json()["data"].clone();
        assert_eq!((&after["state"], &after["title"]), (&json!("booked"), &json!("")));
        assert_eq!(after.get("name"), None);
    }
);
