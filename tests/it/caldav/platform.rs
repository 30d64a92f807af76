//! Bookings that a back end makes through the platform API, in a calendar on a CalDAV server.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{HOURS, book, result, setup_at, setup_on};
use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::radicale::{CalDavProxy, OWNER, PASSWORD, ProxyAction, Radicale, event};
use crate::support::script::Gate;
use crate::support::server::{TestServer, WIDGET};

const START: &str = "2026-03-18T10:00";

async fn post(server: &TestServer, path: &str, key: Option<&str>, body: &Value) -> Response {
    let request = server.request("POST", path).bearer(&server.keys.full).json(body);
    match key {
        Some(key) => request.header("idempotency-key", key).send().await,
        None => request.send().await,
    }
}

async fn bookings_path(server: &TestServer) -> String {
    format!("{}/bookings", server.calendar().await)
}

fn demo() -> Value {
    json!({ "start": START, "title": "Demo", "name": "Ada", "email": "ada@shop.example" })
}

both_backends!(
    async fn a_booking_is_written_to_the_server_once_and_replayed(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let path = bookings_path(&server).await;

        let booked = post(&server, &path, Some("one"), &demo()).await;
        let again = post(&server, &path, Some("one"), &demo()).await;

        assert_eq!(booked.status, 200, "{}", booked.text());
        assert_eq!((again.text(), again.header("idempotent-replayed")), (booked.text(), Some("true")));
        assert_eq!(radicale.count().await, 1);
        assert!(radicale.all().await.contains("Ada"), "the copy is that of the tool");
        assert_eq!(server.query_number("select count(*) from bookings where held_by is null").await, 1);
        let cancel = format!("{path}/{}/cancel", booked.json()["data"]["id"].as_str().unwrap());
        assert_eq!(server.send_request("POST", &cancel).await.status, 200);
        assert_eq!(radicale.count().await, 0);
    }
);

both_backends!(
    async fn only_one_of_several_requests_gets_a_slot(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let path = bookings_path(&server).await;

        let body = demo();
        let answers = join_all((0..3).map(|_| post(&server, &path, None, &body))).await;

        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 2, "{statuses:?}");
        assert_eq!(radicale.count().await, 1);
    }
);

both_backends!(
    async fn a_slot_that_another_program_has_taken_is_neither_free_nor_booked(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let path = bookings_path(&server).await;
        radicale.put("x.ics", &event("x", "DTSTART:20260318T090000Z\nDTEND:20260318T100000Z")).await;

        let query = format!("{}/availability?from=2026-03-18", server.calendar().await);
        let free = server.get(&query).await.json()["data"].clone();
        let refused = post(&server, &path, None, &demo()).await;

        let starts: Vec<&Value> =
            free["slots"].as_array().unwrap().iter().map(|slot| &slot["start"]).collect();
        assert_eq!(starts, ["2026-03-18T09:00:00+01:00", "2026-03-18T11:00:00+01:00"]);
        assert_eq!(refused.status, 409);
        let text = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Nothing was booked: 2026-03-18 10:00 is already taken. Free: "), "{text}");
        assert!(text.contains("2026-03-18 09:00, 2026-03-18 11:00"), "{text}");
        assert_eq!(radicale.count().await, 1);
    }
);

both_backends!(
    async fn a_server_that_refuses_the_event_leaves_the_slot_free(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let path = bookings_path(&server).await;

        proxy.script().respond_with(|method| {
            let refused = ProxyAction::Respond(StatusCode::FORBIDDEN, Bytes::new());
            if *method == Method::PUT { refused } else { ProxyAction::Forward }
        });
        let refused = post(&server, &path, None, &demo()).await;
        proxy.script().respond_with(|_| ProxyAction::Forward);
        let booked = post(&server, &path, None, &demo()).await;

        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(refused.text().contains("the calendar cannot be written"), "{}", refused.text());
        assert_eq!(booked.status, 200, "{}", booked.text());
    }
);

both_backends!(
    async fn requests_that_call_a_server_have_a_concurrency_limit_of_their_own(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let query = format!("{}/availability?from=2026-03-18", server.calendar().await);
        let path = bookings_path(&server).await;
        let gate = Gate::closed();
        let held = gate.clone();
        proxy.script().respond_with(move |_| ProxyAction::HoldResponse(held.clone()));

        let reading = join_all((0..4).map(|_| server.get(&query)));
        let refused = async {
            proxy.calls().wait_for_count(4).await;
            let refused = [server.get(&query).await, post(&server, &path, None, &demo()).await];
            gate.open();
            refused
        };
        let (read, refused) = futures::future::join(reading, refused).await;

        assert!(read.iter().all(|answer| answer.status == 200));
        for refused in refused {
            assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")));
            assert_eq!(refused.json()["message"], "Too many requests to CalDAV servers are running");
        }
        assert_eq!(post(&server, &path, None, &demo()).await.status, 200);
    }
);

both_backends!(
    async fn a_calendar_on_a_server_is_created_through_the_api_and_its_password_stays_secret(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        // Of `HOURS`, which is TOML.
        let day = HOURS.matches("09:00-12:00").next().unwrap();
        let caldav = json!({ "url": radicale.url(), "username": OWNER, "password": PASSWORD });
        let body = json!({ "slug": "work", "time_zone": "Europe/Berlin", "hours": { "wed": [day] }, "caldav": caldav });

        let created = post(&server, "/v1/calendars", None, &body).await;

        assert_eq!(created.status, 200, "{}", created.text());
        let data = created.json()["data"].clone();
        assert_eq!(data["caldav"], json!({ "url": radicale.url(), "username": OWNER, "has_password": true }));
        assert!(!created.text().contains(PASSWORD));
        let path = format!("/v1/calendars/{}", data["id"].as_str().unwrap());
        let booked = post(&server, &format!("{path}/bookings"), None, &demo()).await;
        assert_eq!((booked.status, radicale.count().await), (200, 1), "{}", booked.text());
        let stored = "select count(*) from calendars where rules like '%s3cret%'";
        let audited = "select count(*) from audit_log where fields_after like '%s3cret%' or fields_after like '%sealed%'";
        assert_eq!((server.query_number(stored).await, server.query_number(audited).await), (0, 0));

        let change = async |caldav: Value| {
            let request = server.request("PATCH", &path).bearer(&server.keys.full);
            request.json(&json!({ "caldav": caldav })).send().await
        };
        let elsewhere = change(json!({ "url": "https://dav.example/" })).await;
        let text = "Field 'caldav.password' is invalid: it is needed again, because the host or the username of the \
                    calendar changes.";
        assert_eq!((elsewhere.status, &elsewhere.json()["message"]), (400, &json!(text)));
        let local = change(json!({})).await;
        assert_eq!((local.status, &local.json()["data"]["source"]), (200, &json!("here")));
        let visitor = result(&server, WIDGET, book("2026-03-18T11:00")).await;
        assert_eq!(visitor["success"], true, "the file's calendar is another one: {visitor}");
    }
);
