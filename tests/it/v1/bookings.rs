//! Bookings that a back end makes, and free slots, in the platform API.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};

async fn book(server: &TestServer, key: Option<&str>, body: &Value) -> Response {
    let path = format!("{}/bookings", server.calendar().await);
    let request = server.request("POST", &path).bearer(&server.keys.full).json(body);
    match key {
        Some(key) => request.header("idempotency-key", key).send().await,
        None => request.send().await,
    }
}

fn demo(start: &str) -> Value {
    json!({ "start": start, "title": "Demo" })
}

fn message(answer: &Response) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

both_backends!(
    async fn a_back_end_books_without_a_conversation(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let body = json!({
            "start": "2026-03-16T14:00", "title": "Demo", "name": "Ada", "email": "ada@shop.example", "notes": " ",
        });

        let booked = book(&server, None, &body).await;

        assert_eq!(booked.status, 200, "{}", booked.text());
        let expected = json!({
            "id": booked.json()["data"]["id"], "calendar_id": server.calendar().await.rsplit('/').next().unwrap(),
            "state": "booked", "title": "Demo", "name": "Ada", "email": "ada@shop.example",
            "starts_at": "2026-03-16T13:00:00Z", "ends_at": "2026-03-16T14:00:00Z",
            "start": "2026-03-16T14:00:00+01:00", "end": "2026-03-16T15:00:00+01:00", "time_zone": "Europe/Berlin",
            "created_at": "2026-03-15T14:22:11Z",
        });
        assert_eq!(booked.json()["data"], expected);
        assert_eq!(server.bookings("").await, [expected]);
        let visitor = server.book_with(&json!({ "start": "2026-03-16 14:00", "title": "Mine" })).await;
        assert_eq!(visitor["error"], "2026-03-16 14:00 is already taken");
        let file = server.request("GET", &server.calendar_link().await).send().await;
        assert!(!file.text().contains("Conversation:"), "{}", file.text());
    }
);

both_backends!(
    async fn a_booking_of_a_conversation_is_bounded_and_cancelled_there(db: TestDb) {
        let rules = "slot_minutes = 60\nbookings_per_conversation = 1";
        let edit = move |text: String| text.replace("slot_minutes = 60", rules);
        let server = Setup::default().workspace(edit).start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let of_conversation =
            |start: &str| json!({ "start": start, "title": "Demo", "conversation_id": con });

        let booked = book(&server, None, &of_conversation("2026-03-16T14:00")).await;
        let refused = book(&server, None, &of_conversation("2026-03-18T10:00")).await;
        let without = book(&server, None, &demo("2026-03-18T10:00")).await;
        let unknown = json!({ "start": "2026-03-20T15:00", "title": "Demo", "conversation_id": "con_x" });
        let unknown = book(&server, None, &unknown).await;

        assert_eq!(booked.json()["data"]["conversation_id"], con, "{}", booked.text());
        assert_eq!(refused.status, 409);
        assert!(message(&refused).contains("can be booked in this conversation"), "{}", refused.text());
        assert_eq!(without.status, 200, "{}", without.text());
        assert_eq!((unknown.status, message(&unknown)), (404, "Conversation not found: con_x.".to_owned()));
    }
);

both_backends!(
    async fn a_start_that_is_not_free_names_the_nearest_free_ones(db: TestDb) {
        let server = TestServer::start(&db).await;
        assert_eq!(book(&server, None, &demo("2026-03-16T14:00")).await.status, 200);

        for (start, problem) in [
            ("2026-03-16T14:00", "2026-03-16 14:00 is already taken"),
            ("2026-03-16T14:00:00+01:00", "2026-03-16 14:00 is already taken"),
            ("2026-03-14T14:00", "2026-03-14 14:00 is in the past"),
            ("2027-03-16T14:00", "2027-03-16 14:00 is too far ahead"),
        ] {
            let refused = book(&server, None, &demo(start)).await;
            let text = message(&refused);
            assert_eq!(
                (refused.status, refused.header("rejoinder-error")),
                (409, Some("conflict")),
                "{start}"
            );
            assert!(text.starts_with(&format!("Nothing was booked: {problem}")), "{start}: {text}");
            assert!(text.contains(" Free: 2026-0"), "{start}: {text}");
        }
        assert_eq!(server.bookings("").await.len(), 1);
    }
);

both_backends!(
    async fn one_of_several_requests_gets_a_slot(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = demo("2026-03-16T14:00");

        let answers = join_all((0..6).map(|_| book(&server, None, &body))).await;

        let booked = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(booked, 1);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
        assert_eq!(server.bookings("").await.len(), 1);
    }
);

both_backends!(
    async fn a_repeated_request_with_its_key_gets_the_same_booking(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = demo("2026-03-16T14:00");

        let answers = join_all((0..4).map(|_| book(&server, Some("k-1"), &body))).await;

        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (200, answers[0].text()));
        }
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true"));
        assert_eq!(replayed.count(), 3);
        let other = book(&server, Some("k-1"), &demo("2026-03-18T10:00")).await;
        assert_eq!((other.status, other.header("rejoinder-error")), (422, Some("idempotency_key_reused")));
        // A refusal is not stored: the same key may be used again for the same request.
        let taken = book(&server, Some("k-2"), &body).await;
        assert_eq!(taken.status, 409);
        let id = answers[0].json()["data"]["id"].as_str().unwrap().to_owned();
        let cancel = format!("{}/bookings/{id}/cancel", server.calendar().await);
        assert_eq!(server.send_request("POST", &cancel).await.status, 200);
        assert_eq!(book(&server, Some("k-2"), &body).await.status, 200);
        assert_eq!(book(&server, Some(""), &body).await.status, 400);
    }
);

both_backends!(
    async fn free_slots_are_those_that_can_be_booked(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = format!("{}/availability", server.calendar().await);
        let starts = async |query: &str| {
            let answer = server.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            let data = answer.json()["data"].clone();
            let slots = data["slots"].as_array().unwrap().clone();
            (slots.iter().map(|slot| slot["start"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), data)
        };

        let (free, data) = starts("from=2026-03-16&to=2026-03-18").await;
        assert_eq!(free, ["2026-03-16T14:00:00+01:00", "2026-03-18T10:00:00+01:00"]);
        assert_eq!((&data["time_zone"], &data["truncated"]), (&json!("Europe/Berlin"), &json!(false)));
        let first = json!({
            "start": "2026-03-16T14:00:00+01:00", "end": "2026-03-16T15:00:00+01:00",
            "starts_at": "2026-03-16T13:00:00Z", "ends_at": "2026-03-16T14:00:00Z",
        });
        assert_eq!(data["slots"][0], first);

        assert_eq!(
            book(&server, None, &demo(&free[0])).await.status,
            200,
            "a start is booked as it is listed"
        );
        assert_eq!(starts("from=2026-03-16").await.0, [] as [String; 0]);
        assert_eq!(starts("from=2026-01-01&to=2026-03-14").await.0, [] as [String; 0], "in the past");
        assert_eq!(starts("from=2030-01-01").await.0, [] as [String; 0], "beyond the horizon");
        let (many, data) = starts("from=2026-03-15&to=2027-03-15").await;
        assert_eq!(data["truncated"], true, "at most 31 days: {many:?}");
        assert!(many.iter().all(|start| start.as_str() < "2026-04-15"), "{many:?}");
    }
);

both_backends!(
    async fn invalid_input_names_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let long = "x".repeat(201);
        for (body, text) in [
            (json!({ "title": "Demo" }), "Field 'start' is required.".to_owned()),
            (json!({ "start": "2026-03-16T14:00" }), "Field 'title' is required.".to_owned()),
            (json!({ "start": "2026-03-16T14:00", "title": " " }), "Field 'title' is required.".to_owned()),
            (
                json!({ "start": "2026-03-16T14:00", "title": long }),
                "Field 'title' must not be greater than 200 characters.".to_owned(),
            ),
            (
                json!({ "start": "2026-03-16T14:00", "title": "Demo", "mail": "a" }),
                "Unknown field 'mail'. Known fields: 'start', 'title', 'name', 'email', 'notes', 'conversation_id'."
                    .to_owned(),
            ),
            (
                json!({ "start": "2026-03-16T14:00", "title": "Demo", "name": 1 }),
                "Field 'name' must be a string.".to_owned(),
            ),
        ] {
            let refused = book(&server, None, &body).await;
            assert_eq!((refused.status, message(&refused)), (400, text), "{body}");
        }
        for start in ["soon", "2026-03-16", "2026-03-29T02:30", "2026-10-25T02:30"] {
            let refused = book(&server, None, &demo(start)).await;
            assert_eq!(refused.status, 400, "{start}");
            assert!(message(&refused).starts_with("Field 'start' is invalid: "), "{}", refused.text());
        }
        let path = format!("{}/availability", server.calendar().await);
        for (query, text) in [
            ("", "Field 'from' is required."),
            ("from=2026-03-16T10:00", "Field 'from' must be a date such as 2026-03-15."),
            ("from=2026-03-16&to=soon", "Field 'to' must be a date such as 2026-03-15."),
            ("from=2026-03-16&to=2026-03-15", "Field 'to' must not be before 'from'."),
            ("from=2026-03-16&day=1", "Unknown query parameter 'day'. Known parameters: 'from', 'to'."),
        ] {
            let refused = server.get(&format!("{path}?{query}")).await;
            assert_eq!((refused.status, message(&refused).as_str()), (400, text), "{query}");
        }
        assert_eq!(server.bookings("").await, [] as [Value; 0]);
    }
);

both_backends!(
    async fn a_booking_needs_the_scope_and_the_workspace_and_is_audited_without_values(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = format!("{}/bookings", server.calendar().await);
        let body = json!({ "start": "2026-03-16T14:00", "title": "Secret talk", "name": "Ada Lovelace" });
        let with = async |key: &str| server.request("POST", &path).bearer(key).json(&body).send().await;

        assert_eq!(with(&server.keys.read_only).await.status, 403);
        let foreign = with(&server.keys.other_workspace).await;
        assert_eq!((foreign.status, foreign.header("rejoinder-error")), (404, Some("calendar_not_found")));
        let booked = with(&server.keys.full).await;
        let id = booked.json()["data"]["id"].as_str().unwrap().to_owned();
        for _ in 0..2 {
            assert_eq!(server.send_request("POST", &format!("{path}/{id}/cancel")).await.status, 200);
        }

        let select = "select action || ' ' || object_id || ' ' || route from audit_log \
            where object_kind = 'booking' order by id";
        let entries = seed::query_texts(&db, select).await;
        let mut expected = [
            format!("created {id} POST /v1/calendars/{{id}}/bookings"),
            format!("updated {id} POST /v1/calendars/{{id}}/bookings/{{booking_id}}/cancel"),
        ];
        let mut entries = entries;
        entries.sort();
        expected.sort();
        assert_eq!(entries, expected);
        let with_values =
            "select count(*) from audit_log where fields_after like '%Ada%' or fields_after like '%talk%'";
        assert_eq!(server.query_number(with_values).await, 0);
    }
);
