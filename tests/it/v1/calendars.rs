//! Calendars and bookings in the platform API.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};

fn ids(bookings: &[Value]) -> Vec<&str> {
    bookings.iter().map(|booking| booking["id"].as_str().unwrap()).collect()
}

both_backends!(
    async fn a_calendar_is_returned_with_its_rules(db: TestDb) {
        described::check_responses();
        let rules = "slot_minutes = 60\nbuffer_minutes = 10\nholidays = [\"2026-12-25\"]\nbookings_per_conversation = 3";
        let edit = move |text: String| text.replace("slot_minutes = 60", rules);
        let server = Setup::default().workspace(edit).start(&db).await;

        let listed = server.get("/v1/calendars").await.json()["data"].clone();
        let path = server.calendar().await;
        let read = server.get(&path).await.json();

        let mut expected = json!({
            "slug": "demos", "time_zone": "Europe/Berlin", "slot_minutes": 60, "buffer_minutes": 10,
            "minimum_notice_minutes": 0, "horizon_days": 60, "holidays": ["2026-12-25"], "source": "here",
            "bookings_per_conversation": 3, "bookings_per_day": 100, "ics_linked": false, "from_file": true,
            "hours": {
                "mon": ["14:00-15:00"], "tue": [], "wed": ["10:00-11:00"], "thu": [], "fri": ["15:00-16:00"],
                "sat": [], "sun": [],
            },
            "created_at": "2026-03-15T14:22:11Z",
        });
        expected["id"] = read["data"]["id"].clone();
        assert!(expected["id"].as_str().unwrap().starts_with("cal_"));
        assert_eq!(read["data"], expected);
        assert_eq!(listed, json!({ "items": [expected], "next_cursor": null }));
    }
);

both_backends!(
    async fn a_visitors_booking_is_listed_by_the_platform_api(db: TestDb) {
        let server = TestServer::start(&db).await;
        let arguments = json!({
            "start": "2026-03-16 14:00", "title": "Demo", "name": "Ada", "email": "ada@shop.example",
            "notes": "Brings cake",
        });
        let booked = server.book_with(&arguments).await;
        let path = server.calendar().await;

        let found = server.bookings("").await;

        let con = server.conversation_id(WIDGET).await;
        let expected = json!({
            "id": booked["booking_id"], "calendar_id": path.rsplit('/').next().unwrap(),
            "conversation_id": con, "state": "booked", "title": "Demo", "name": "Ada",
            "email": "ada@shop.example", "notes": "Brings cake",
            "starts_at": "2026-03-16T13:00:00Z", "ends_at": "2026-03-16T14:00:00Z",
            "start": booked["start"], "end": booked["end"], "time_zone": "Europe/Berlin",
            "created_at": "2026-03-15T14:22:11Z",
        });
        assert_eq!(booked["start"], "2026-03-16T14:00:00+01:00");
        assert_eq!(found, std::slice::from_ref(&expected));
        let one = format!("{path}/bookings/{}", booked["booking_id"].as_str().unwrap());
        assert_eq!(server.get(&one).await.json()["data"], expected);
    }
);

both_backends!(
    async fn bookings_are_filtered_and_paged(db: TestDb) {
        let server = TestServer::start(&db).await;
        // After daylight-saving time has begun on 29 March, 15:00 is 13:00 UTC.
        let third = server.book("2026-04-03 15:00", "third").await;
        let first = server.book("2026-03-16 14:00", "first").await;
        let second = server.book("2026-03-18 10:00", "second").await;
        let path = server.calendar().await;
        server.send_request("POST", &format!("{path}/bookings/{second}/cancel")).await;
        let con = server.conversation_id(WIDGET).await;

        let all = [first.as_str(), &second, &third];
        for (query, expected) in [
            ("", &all[..]),
            ("state=booked", &[&*first, &*third]),
            ("state=cancelled", &[&*second]),
            ("from=2026-03-16&to=2026-03-16", &[&*first]),
            ("from=2026-03-17&to=2026-04-03", &[&*second, &*third]),
            ("from=2026-03-16T13:59:59Z&to=2026-03-18T09:00:01Z", &[&*first, &*second]),
            ("from=2026-03-16T14:00:00Z&to=2026-03-18T09:00:00Z", &[]),
            ("from=2026-03-16T14:00:00%2B01:00&to=2026-03-17", &[&*first]),
            ("from=2026-04-04", &[]),
            (&format!("conversation_id={con}&from=2026-03-18"), &[&*second, &*third]),
        ] {
            assert_eq!(ids(&server.bookings(query).await), expected, "{query}");
        }

        let page = server.get(&format!("{path}/bookings?limit=2")).await.json()["data"].clone();
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest =
            server.get(&format!("{path}/bookings?limit=2&cursor={cursor}")).await.json()["data"].clone();
        assert_eq!(ids(page["items"].as_array().unwrap()), all[..2]);
        assert_eq!(ids(rest["items"].as_array().unwrap()), all[2..]);
        assert_eq!(rest["next_cursor"], Value::Null);
    }
);

both_backends!(
    async fn a_cancelled_booking_frees_its_time_and_may_be_cancelled_again(db: TestDb) {
        let server = TestServer::start(&db).await;
        let booking = server.book("2026-03-16 14:00", "Demo").await;
        let path = format!("{}/bookings/{booking}/cancel", server.calendar().await);

        let answers = join_all((0..4).map(|_| server.send_request("POST", &path))).await;

        let first = answers[0].json()["data"].clone();
        assert_eq!(
            (&first["state"], &first["cancelled_at"]),
            (&json!("cancelled"), &json!("2026-03-15T14:22:11Z"))
        );
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.json()["data"] == first));
        let again = server.book("2026-03-16 14:00", "Another").await;
        assert_eq!(ids(&server.bookings("state=booked").await), [again]);
    }
);

both_backends!(
    async fn an_invalid_query_names_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = server.calendar().await;
        let time = "must be a date such as 2026-03-15, or a time such as 2026-03-15T14:00:00Z.";

        for (query, text) in [
            ("from=yesterday", format!("Field 'from' {time}")),
            ("to=2026-03-15T14:00:00", format!("Field 'to' {time}")),
            ("to=", format!("Field 'to' {time}")),
            ("state=open", "Field 'state' must be one of: booked, cancelled.".to_owned()),
            ("limit=0", "Field 'limit' must be a number from 1 to 200.".to_owned()),
            ("cursor=x", "Field 'cursor' is not a cursor of this list.".to_owned()),
        ] {
            let answer = server.get(&format!("{path}/bookings?{query}")).await;
            assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(text)), "{query}");
        }
        for name in ["con_x", "con_00000000000000000000000000"] {
            let answer = server.get(&format!("{path}/bookings?conversation_id={name}")).await;
            let text = format!("Conversation not found: {name}.");
            assert_eq!((answer.status, &answer.json()["message"]), (404, &json!(text)));
        }
        let listed = server.get("/v1/calendars?cursor=x").await;
        assert_eq!(listed.status, 400);
    }
);

both_backends!(
    async fn reads_and_cancellations_need_their_scope_and_workspace(db: TestDb) {
        let server = TestServer::start(&db).await;
        let booking = server.book("2026-03-16 14:00", "Demo").await;
        let path = server.calendar().await;
        let id = path.rsplit('/').next().unwrap();
        let unknown = "cal_00000000000000000000000000";
        let with =
            async |key: &str, method: &str, path: &str| server.request(method, path).bearer(key).send().await;

        for (method, under) in [
            ("GET", String::new()),
            ("GET", "/bookings".to_owned()),
            ("GET", "/availability?from=2026-03-16".to_owned()),
            ("GET", format!("/bookings/{booking}")),
            ("POST", format!("/bookings/{booking}/cancel")),
            ("POST", "/ics_link".to_owned()),
            ("DELETE", "/ics_link".to_owned()),
        ] {
            let reading = with(&server.keys.read_only, method, &format!("{path}{under}")).await;
            assert_eq!(reading.status, if method == "GET" { 200 } else { 403 }, "{method} {under}");
            let foreign = with(&server.keys.other_workspace, method, &format!("{path}{under}")).await;
            let other =
                with(&server.keys.other_workspace, method, &format!("/v1/calendars/{unknown}{under}")).await;
            assert_eq!((foreign.status, other.status), (404, 404), "{method} {under}");
            assert_eq!(foreign.text().replace(id, unknown), other.text());
            assert_eq!(foreign.header("rejoinder-error"), Some("calendar_not_found"));
        }
        assert_eq!(
            with(&server.keys.other_workspace, "GET", "/v1/calendars").await.json()["data"]["items"],
            json!([])
        );
        for name in ["x", "bkg_00000000000000000000000000"] {
            let answer = server.get(&format!("{path}/bookings/{name}")).await;
            let text = format!("Booking not found: {name}.");
            assert_eq!((answer.status, &answer.json()["message"]), (404, &json!(text)));
            assert_eq!(
                server.send_request("POST", &format!("{path}/bookings/{name}/cancel")).await.status,
                404
            );
        }
        assert_eq!(server.bookings("").await[0]["state"], "booked");
    }
);

both_backends!(
    async fn a_booking_on_another_server_is_not_cancelled_and_a_hold_is_not_listed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let booking = server.book("2026-03-16 14:00", "Demo").await;
        let path = format!("{}/bookings/{booking}", server.calendar().await);
        seed::execute(&db, "update bookings set resource = 'https://dav.example/x.ics'").await;

        let refused = server.send_request("POST", &format!("{path}/cancel")).await;

        let text = "Nothing was cancelled: the appointment is on another calendar than this one; it has to be cancelled \
                    there.";
        assert_eq!((refused.status, &refused.json()["message"]), (409, &json!(text)));
        assert_eq!(server.bookings("state=booked").await.len(), 1);
        seed::execute(&db, "update bookings set held_by = id").await;
        assert_eq!(server.bookings("").await, [] as [Value; 0]);
        assert_eq!(server.get(&path).await.status, 404);
        let file = server.request("GET", &server.calendar_link().await).send().await;
        assert!(!file.text().contains("VEVENT"), "{}", file.text());
    }
);
