//! Bookings on a CalDAV server: created, found and cancelled, also after another program changed them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{book, cancel, check_availability, result, setup_at, setup_on};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::radicale::{CalDavProxy, OWNER, ProxyAction, Radicale, calendar, event};
use crate::support::server::{TestServer, WIDGET};

/// The results of calls that the model makes one after another in one turn.
async fn results(server: &TestServer, calls: impl IntoIterator<Item = ToolCall>) -> Vec<Value> {
    let rounds = calls.into_iter().map(|call| Reply::tool_calls([call]));
    server.model.script().queue(rounds.chain([Reply::text("Done.")]));
    let body = server.post_message(WIDGET, "Please.").send().await.json();
    body["function_calls"].as_array().unwrap().iter().map(|call| call["result"].clone()).collect()
}

both_backends!(
    async fn one_turn_books_and_another_cancels(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let day = || check_availability("2026-03-18", "2026-03-18");

        let tool_results = results(&server, [day(), book("2026-03-18T10:00"), day()]).await;

        assert_eq!(tool_results[0]["available_slots"].as_array().unwrap().len(), 3);
        assert_eq!(tool_results[1]["success"], true, "{}", tool_results[1]);
        assert_eq!(tool_results[1]["start"], "2026-03-18T10:00:00+01:00");
        assert_eq!(tool_results[2]["available_slots"], json!(["2026-03-18 09:00", "2026-03-18 11:00"]));
        let all = radicale.all().await;
        for line in [
            "DTSTART:20260318T090000Z",
            "DTEND:20260318T100000Z",
            "SUMMARY:Demo\\; with\\, signs\\nand lines",
            "DESCRIPTION:Name: Ada\\nE-mail: ada@example.com",
        ] {
            assert!(all.lines().any(|found| found == line), "{line} in {all}");
        }
        let name = radicale.of_calls().await.pop().unwrap();
        assert_eq!(radicale.send("GET", &name, &[], String::new()).await.0, StatusCode::OK);
        assert_eq!(server.query_number("select count(*) from bookings where held_by is null").await, 1);

        let cancelled = results(&server, [cancel(&tool_results[1]["booking_id"]), day()]).await;

        assert_eq!(cancelled[0], json!({ "success": true }));
        assert_eq!(cancelled[1]["available_slots"].as_array().unwrap().len(), 3);
        assert_eq!(radicale.send("GET", &name, &[], String::new()).await.0, StatusCode::NOT_FOUND);
        let again = result(&server, WIDGET, cancel(&tool_results[1]["booking_id"])).await;
        assert_eq!(again, json!({ "success": true }));
    }
);

both_backends!(
    async fn a_busy_time_is_refused_with_free_times_and_nothing_is_written(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        radicale.put("x.ics", &event("x", "DTSTART:20260318T093000Z\nDTEND:20260318T094500Z")).await;

        let refused = result(&server, WIDGET, book("2026-03-18T10:00")).await;

        assert_eq!(refused["error"], "2026-03-18 10:00 is already taken");
        assert!(refused["available_slots"].as_array().unwrap().contains(&json!("2026-03-18 09:00")));
        assert_eq!(
            (radicale.count().await, server.query_number("select count(*) from bookings").await),
            (1, 0)
        );
    }
);

both_backends!(
    async fn a_moved_appointment_frees_its_time_and_is_cancelled_at_its_new_time(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        let name = radicale.of_calls().await.pop().unwrap();
        let uid = name.trim_end_matches(".ics");

        radicale.put(&name, &event(uid, "DTSTART:20260319T090000Z\nDTEND:20260319T100000Z")).await;
        let free = result(&server, WIDGET, check_availability("2026-03-18", "2026-03-19")).await;
        let other = server.create_conversation().await;
        let second = result(&server, &other, book("2026-03-18T10:00")).await;
        let foreign = result(&server, &other, cancel(&booked["booking_id"])).await;
        let cancelled = result(&server, WIDGET, cancel(&booked["booking_id"])).await;

        assert!(free["available_slots"].as_array().unwrap().contains(&json!("2026-03-18 10:00")), "{free}");
        assert!(!free["available_slots"].as_array().unwrap().contains(&json!("2026-03-19 10:00")), "{free}");
        assert_eq!(second["success"], true, "its old time is free: {second}");
        assert!(foreign["error"].as_str().unwrap().contains("was booked in this conversation"), "{foreign}");
        assert_eq!(cancelled, json!({ "success": true }));
        assert_eq!(radicale.count().await, 1, "the second booking stays");
    }
);

both_backends!(
    async fn an_event_removed_on_the_server_is_free_and_cancelling_it_succeeds(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        let name = radicale.of_calls().await.pop().unwrap();

        radicale.send("DELETE", &name, &[], String::new()).await;
        let free = result(&server, WIDGET, check_availability("2026-03-18", "2026-03-18")).await;
        // An event of another program at this address is not our booking.
        radicale.send("PUT", &name, &[], calendar(&event("other", "DTSTART:20260318T090000Z"))).await;
        let cancelled = result(&server, WIDGET, cancel(&booked["booking_id"])).await;

        assert_eq!(free["available_slots"].as_array().unwrap().len(), 3);
        assert_eq!((cancelled, radicale.count().await), (json!({ "success": true }), 1));
    }
);

both_backends!(
    async fn the_platform_api_shows_the_calendar_server_and_cancels_on_it(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        result(&server, WIDGET, book("2026-03-18T10:00")).await;

        let calendar = server.get("/v1/calendars").await.json()["data"]["items"][0].clone();
        let path = format!("/v1/calendars/{}/bookings", calendar["id"].as_str().unwrap());
        let listed = server.get(&path).await.json()["data"]["items"].clone();
        let cancel = format!("{path}/{}/cancel", booked["booking_id"].as_str().unwrap());
        let cancelled = server.request("POST", &cancel).bearer(&server.keys.full).send().await;

        assert_eq!(calendar["source"], "caldav");
        let expected = json!({ "url": radicale.url(), "username": OWNER, "has_password": true });
        assert_eq!(calendar["caldav"], expected);
        assert!(!calendar.to_string().contains("sealed"), "{calendar}");
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &booked["booking_id"]));
        assert_eq!((cancelled.status, &cancelled.json()["data"]["state"]), (200, &json!("cancelled")));
        assert_eq!(radicale.count().await, 0);
    }
);

both_backends!(
    async fn a_read_only_server_makes_cancelling_fail(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let booked = result(&server, WIDGET, book("2026-03-18T10:00")).await;
        let calendar = server.get("/v1/calendars").await.json()["data"]["items"][0]["id"].clone();
        let path = format!("/v1/calendars/{}/bookings", calendar.as_str().unwrap());
        let cancel = format!("{path}/{}/cancel", booked["booking_id"].as_str().unwrap());

        proxy.script().queue([ProxyAction::Respond(StatusCode::FORBIDDEN, Bytes::new())]);
        let refused = server.request("POST", &cancel).bearer(&server.keys.full).send().await;

        let text = "Nothing was cancelled: the calendar cannot be written at the moment.";
        assert_eq!((refused.status, &refused.json()["message"]), (409, &json!(text)));
        assert_eq!(server.get(&path).await.json()["data"]["items"][0]["state"], "booked");
        assert_eq!(radicale.count().await, 1);
    }
);
