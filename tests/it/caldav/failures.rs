//! A CalDAV server that is unreachable, hangs, refuses or answers garbage: no result is invented, and no secret is revealed.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{book, cancel, check_availability, result, setup_at, setup_on, setup_with_keys};
use crate::support::db::{TestDb, both_backends};
use crate::support::radicale::{CalDavProxy, PASSWORD, ProxyAction, Radicale, event};
use crate::support::server::{Setup, WIDGET};
use crate::support::store;

fn not_read() -> Value {
    json!({ "error": "The calendar cannot be read at the moment." })
}

async fn assert_not_read(db: &TestDb, setup: Setup) {
    let server = setup.start(db).await;
    assert_eq!(result(&server, WIDGET, check_availability("2026-03-18", "2026-03-18")).await, not_read());
    assert_eq!(result(&server, WIDGET, book("2026-03-18T10:00")).await, not_read());
    assert_eq!(server.query_number("select count(*) from bookings").await, 0);
}

both_backends!(
    async fn an_unreachable_server_is_an_error(db: TestDb) {
        assert_not_read(&db, setup_at("http://127.0.0.1:9/owner/work/", "127.0.0.1:9")).await;
    }
);

both_backends!(
    async fn a_host_that_is_not_allowed_is_not_called(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let url = proxy.url().replace("127.0.0.1", "localhost");

        assert_not_read(&db, setup_with_keys(&url, "127.0.0.1", "")).await;

        assert!(proxy.calls().all().is_empty());
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_or_missing_credentials_and_wrong_addresses_are_errors() {
    let radicale = Radicale::start().await;
    let home = radicale.url().replace("work/", "");
    for setup in [
        setup_with_keys(&radicale.url(), radicale.host(), ""),
        setup_with_keys(
            &radicale.url(),
            radicale.host(),
            "username = \"other\", password = { env = \"CALDAV_PASSWORD\" }",
        ),
        setup_at(&home, radicale.host()),
        setup_at(&format!("{home}nothing/"), radicale.host()),
    ] {
        assert_not_read(&store::sqlite().await, setup).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_redirecting_refusing_and_endless_responses_are_errors() {
    let radicale = Arc::new(Radicale::start().await);
    let proxy = CalDavProxy::start(&radicale).await;
    let db = store::sqlite().await;
    let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
    let day = || check_availability("2026-03-18", "2026-03-18");
    assert!(result(&server, WIDGET, day()).await["available_slots"].is_array());

    let page = Bytes::from_static(b"<html><body>Please sign in</body></html>");
    let cut = r#"<?xml version="1.0"?><multistatus xmlns="DAV:"><response><href>/x</href><status>HTTP/1.1 507 Full</status></response></multistatus>"#;
    for line in [
        ProxyAction::Respond(StatusCode::MULTI_STATUS, Bytes::from_static(b"}{")),
        ProxyAction::Respond(StatusCode::MULTI_STATUS, page.clone()),
        ProxyAction::Respond(StatusCode::OK, page),
        ProxyAction::Respond(StatusCode::MULTI_STATUS, cut.into()),
        ProxyAction::Respond(StatusCode::MULTI_STATUS, vec![b' '; 5 * 1024 * 1024].into()),
        ProxyAction::Respond(StatusCode::FOUND, Bytes::new()),
        ProxyAction::Respond(StatusCode::UNAUTHORIZED, Bytes::new()),
        ProxyAction::Respond(StatusCode::INTERNAL_SERVER_ERROR, PASSWORD.into()),
    ] {
        proxy.script().queue([line]);
        assert_eq!(result(&server, WIDGET, day()).await, not_read());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_call_names_the_cause_and_no_secret() {
    let radicale = Arc::new(Radicale::start().await);
    let proxy = CalDavProxy::start(&radicale).await;
    let db = store::sqlite().await;
    let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
    let days = json!({ "arguments": { "start_date": "2026-03-18", "end_date": "2026-03-18" } });

    for (status, cause) in [
        (StatusCode::UNAUTHORIZED, "PROPFIND was answered with status 401"),
        (StatusCode::INTERNAL_SERVER_ERROR, "PROPFIND was answered with status 500"),
        (StatusCode::FOUND, "PROPFIND was answered with a redirect"),
    ] {
        proxy.script().queue([ProxyAction::Respond(status, PASSWORD.into())]);

        let tested = crate::v1::tools::tested(&server, "availability", &days).await;

        let error = tested["result"]["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("The calendar cannot be read: {cause}")), "{error}");
        assert!(!tested.to_string().contains(PASSWORD), "{tested}");
    }
    let free = crate::v1::tools::tested(&server, "availability", &days).await;
    assert!(free["result"]["available_slots"].is_array(), "{free}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_server_times_out() {
    let radicale = Arc::new(Radicale::start().await);
    let proxy = CalDavProxy::start(&radicale).await;
    let db = store::sqlite().await;
    let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;

    proxy.script().queue([ProxyAction::Hang]);

    assert_eq!(result(&server, WIDGET, check_availability("2026-03-18", "2026-03-18")).await, not_read());
}

both_backends!(
    async fn unreadable_events_are_treated_as_busy(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let resource = |name: &str, data: &str| {
            format!(
                "<response><href>/{name}</href><propstat><prop><C:calendar-data>{data}</C:calendar-data></prop><status>HTTP/1.1 200 OK</status></propstat></response>"
            )
        };
        let answer = |events: &[&str]| {
            let all: String = events
                .iter()
                .map(|event| resource("x.ics", &crate::support::radicale::calendar(event)))
                .collect();
            let text = format!(
                r#"<multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">{all}</multistatus>"#
            );
            ProxyAction::Respond(StatusCode::MULTI_STATUS, text.into())
        };
        let broken = event("broken", "DTSTART:yesterday\nDTEND:20260318T090000Z");
        let good = event("good", "DTSTART:20260318T090000Z\nDTEND:20260318T100000Z");
        let endless = event("endless", "DTSTART:20200101T000000Z\nDURATION:PT1S\nRRULE:FREQ=SECONDLY");
        let long = event("long", "DTSTART:20260318T090000Z\nDTEND:never");
        let deep = "BEGIN:A\nX;P=\"\nEND:A\n\":v\n".repeat(50_000);
        let day = || check_availability("2026-03-18", "2026-03-18");
        result(&server, WIDGET, day()).await;
        let mut tool_results = Vec::new();
        for events in [&[&good, &endless], &[&good, &long], &[&good, &broken], &[&good, &deep]] {
            proxy.script().queue([answer(&events.map(String::as_str))]);
            tool_results.push(result(&server, WIDGET, day()).await);
        }

        assert_eq!(tool_results[0]["available_slots"], json!([]));
        assert_eq!(tool_results[1]["available_slots"], json!(["2026-03-18 09:00"]));
        assert_eq!(tool_results[2], not_read());
        // iCalendar has no nested component there, even if the quotes suggest one.
        assert_eq!(tool_results[3]["available_slots"], json!(["2026-03-18 09:00", "2026-03-18 11:00"]));
    }
);

both_backends!(
    async fn a_failed_write_leaves_no_booking_and_no_hold(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;

        for (put, events) in [
            (ProxyAction::Respond(StatusCode::FORBIDDEN, Bytes::new()), 0),
            (ProxyAction::Respond(StatusCode::INSUFFICIENT_STORAGE, Bytes::new()), 0),
            // The event was written, although the response reports an error.
            (ProxyAction::ReplaceResponse(StatusCode::BAD_GATEWAY), 0),
        ] {
            let mut put = Some(put);
            proxy.script().respond_with(move |method| match put.take_if(|_| *method == Method::PUT) {
                Some(line) => line,
                None => ProxyAction::Forward,
            });
            let tool_results = result(&server, WIDGET, book("2026-03-18T10:00")).await;
            let error = "The appointment was not booked: the calendar cannot be written at the moment.";
            assert_eq!(tool_results, json!({ "error": error }));
            assert_eq!(radicale.count().await, events);
        }
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        assert_eq!(booked["success"], true, "the time is free again: {booked}");

        let mut refusal = Some(ProxyAction::Respond(StatusCode::FORBIDDEN, Bytes::new()));
        proxy.script().respond_with(move |method| match refusal.take_if(|_| *method == Method::DELETE) {
            Some(line) => line,
            None => ProxyAction::Forward,
        });
        let tool_results = result(&server, WIDGET, cancel(&booked["booking_id"])).await;
        assert!(tool_results["error"].as_str().unwrap().contains("was not cancelled"), "{tool_results}");
        assert_eq!(radicale.count().await, 1);
        let tool_results = result(&server, WIDGET, cancel(&booked["booking_id"])).await;
        assert_eq!((tool_results["success"].clone(), radicale.count().await), (json!(true), 0));
    }
);

both_backends!(
    async fn no_table_contains_a_plain_text_password(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;

        for (table, column) in
            [("calendars", "rules"), ("assistant_versions", "compiled"), ("tools", "definition")]
        {
            let found = format!("select count(*) from {table} where {column} like '%{PASSWORD}%'");
            assert_eq!(server.query_number(&found).await, 0, "{table}");
        }
    }
);
