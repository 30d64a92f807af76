//! Calendars that are created, changed and archived through the platform API.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::TestServer;

const CALENDARS: &str = "/v1/calendars";

async fn ask(server: &TestServer, method: &str, path: &str, body: &Value) -> Response {
    server.request(method, path).bearer(&server.keys.full).json(body).send().await
}

fn sales() -> Value {
    json!({ "slug": "sales", "time_zone": "Europe/Berlin", "hours": { "mon": ["09:00-10:00"] } })
}

/// `sales`, with these fields.
fn sales_with(fields: &Value) -> Value {
    let mut body = sales();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn message(answer: &Response) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

/// Creates `sales`, and returns its path.
async fn create(server: &TestServer) -> String {
    let created = ask(server, "POST", CALENDARS, &sales()).await;
    assert_eq!(created.status, 200, "{}", created.text());
    format!("{CALENDARS}/{}", created.json()["data"]["id"].as_str().unwrap())
}

/// The file's calendar as if the API had created it: the assistants of the file use it.
async fn adopt(server: &TestServer, db: &crate::support::db::TestDb) -> String {
    seed::execute(db, "update calendars set from_file = false").await;
    server.calendar().await
}

both_backends!(
    async fn a_calendar_is_created_read_changed_and_archived(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body =
            sales_with(&json!({ "slot_minutes": 45, "holidays": ["2026-12-25"], "bookings_per_day": 7 }));

        let created = ask(&server, "POST", CALENDARS, &body).await;

        assert_eq!(created.status, 200, "{}", created.text());
        let mut expected = json!({
            "slug": "sales", "time_zone": "Europe/Berlin", "slot_minutes": 45, "buffer_minutes": 0,
            "minimum_notice_minutes": 0, "horizon_days": 60, "holidays": ["2026-12-25"], "source": "here",
            "bookings_per_conversation": 10, "bookings_per_day": 7, "ics_linked": false, "from_file": false,
            "hours": { "mon": ["09:00-10:00"], "tue": [], "wed": [], "thu": [], "fri": [], "sat": [], "sun": [] },
            "created_at": "2026-03-15T14:22:11Z",
        });
        expected["id"] = created.json()["data"]["id"].clone();
        assert_eq!(created.json()["data"], expected);
        let path = format!("{CALENDARS}/{}", expected["id"].as_str().unwrap());
        assert_eq!(server.get(&path).await.json()["data"], expected);

        let change = json!({ "hours": { "tue": ["10:00-12:00"] }, "buffer_minutes": 15 });
        let changed = ask(&server, "PATCH", &path, &change).await;
        expected["hours"]["mon"] = json!([]);
        expected["hours"]["tue"] = json!(["10:00-12:00"]);
        expected["buffer_minutes"] = json!(15);
        assert_eq!((changed.status, &changed.json()["data"]), (200, &expected));
        let booked = ask(
            &server,
            "POST",
            &format!("{path}/bookings"),
            &json!({
                "start": "2026-03-17T10:00", "title": "Demo",
            }),
        )
        .await;
        assert_eq!(booked.status, 200, "{}", booked.text());
        ask(&server, "POST", &format!("{path}/ics_link"), &json!({})).await;

        let archived = ask(&server, "DELETE", &path, &json!({})).await;
        assert_eq!((archived.status, &archived.json()["data"]["slug"]), (200, &json!("sales")));
        for (method, body) in
            [("GET", json!({})), ("PATCH", json!({ "slot_minutes": 5 })), ("DELETE", json!({}))]
        {
            assert_eq!(ask(&server, method, &path, &body).await.status, 404);
        }
        assert_eq!(server.query_number("select count(*) from calendar_links").await, 0);

        let restored = ask(&server, "POST", CALENDARS, &sales()).await.json()["data"].clone();
        assert_eq!((&restored["id"], &restored["slot_minutes"]), (&expected["id"], &json!(30)));
        let bookings = server.get(&format!("{path}/bookings")).await.json();
        assert_eq!(bookings["data"]["items"][0]["title"], "Demo", "its bookings are kept");
    }
);

both_backends!(
    async fn a_slug_is_taken_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = sales();

        let answers = join_all((0..5).map(|_| ask(&server, "POST", CALENDARS, &body))).await;

        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
        let of_file = ask(&server, "POST", CALENDARS, &sales_with(&json!({ "slug": "demos" }))).await;
        let text = "The slug 'demos' is taken by another calendar of the API or of a workspace file.";
        assert_eq!((of_file.status, message(&of_file).as_str()), (409, text));
    }
);

both_backends!(
    async fn a_calendar_of_a_file_is_changed_only_there(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = server.calendar().await;

        for (method, body) in [("PATCH", json!({ "slot_minutes": 30 })), ("DELETE", json!({}))] {
            let refused = ask(&server, method, &path, &body).await;
            let text = "The calendar 'demos' is set up by a workspace file: change it there.";
            assert_eq!((refused.status, message(&refused).as_str()), (409, text), "{method}");
        }
        assert_eq!(server.get(&path).await.json()["data"]["slot_minutes"], 60);
    }
);

both_backends!(
    async fn invalid_input_names_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server).await;
        let known = "'slug', 'time_zone', 'hours', 'slot_minutes', 'buffer_minutes', 'minimum_notice_minutes', \
                     'horizon_days', 'holidays', 'bookings_per_conversation', 'bookings_per_day', 'caldav'";
        for (fields, text) in [
            (json!({ "timezone": "UTC" }), format!("Unknown field 'timezone'. Known fields: {known}.")),
            (
                json!({ "slug": "No" }),
                "Field 'slug' must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id."
                    .to_owned(),
            ),
            (json!({ "hours": null }), "Field 'hours' is required.".to_owned()),
            (json!({ "hours": [] }), "Field 'hours' must be an object.".to_owned()),
            (
                json!({ "hours": { "mon": ["9-10"] } }),
                "Field 'hours.mon[0]' is invalid: \"9-10\" is not a window such as \"09:00-12:00\"."
                    .to_owned(),
            ),
            (
                json!({ "hours": { "monday": ["09:00-10:00"] } }),
                "Unknown field 'hours.monday'. Known fields: 'mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'."
                    .to_owned(),
            ),
            (
                json!({ "slot_minutes": 0 }),
                "Field 'slot_minutes' must be a whole number from 1 to 1440.".to_owned(),
            ),
            (
                json!({ "holidays": ["tomorrow"] }),
                "Field 'holidays[0]' is invalid: \"tomorrow\" is not a date such as \"2026-12-25\"."
                    .to_owned(),
            ),
            (
                json!({ "caldav": { "url": "https://dav.example/", "host": "x" } }),
                "Unknown field 'caldav.host'. Known fields: 'url', 'username', 'password'.".to_owned(),
            ),
            (
                json!({ "caldav": { "username": "me" } }),
                "Field 'caldav.url' is invalid: it is missing.".to_owned(),
            ),
            (
                json!({ "caldav": { "url": "https://dav.example/", "username": "me", "password": "abc" } }),
                "Field 'caldav.password' must have at least 4 bytes.".to_owned(),
            ),
        ] {
            let refused = ask(&server, "POST", CALENDARS, &sales_with(&fields)).await;
            assert_eq!((refused.status, message(&refused)), (400, text), "{fields}");
        }
        for fields in [
            json!({ "time_zone": "Mars/Olympus" }),
            json!({ "hours": {} }),
            json!({ "holidays": vec!["2026-12-25"; 1001] }),
            json!({ "caldav": { "url": "http://127.0.0.1:1/me/" } }),
            json!({ "caldav": { "url": "http://dav.example/", "username": "me", "password": "s3cret" } }),
            json!({ "caldav": { "url": "https://me:s3cret@dav.example/" } }),
            json!({ "caldav": { "url": "https://dav.example/", "username": "me", "password": { "env": "TOKEN" } } }),
        ] {
            let refused = ask(&server, "POST", CALENDARS, &sales_with(&fields)).await;
            assert_eq!(refused.status, 400, "{fields}: {}", refused.text());
            assert!(message(&refused).starts_with("Field '"), "{}", refused.text());
            assert!(!refused.text().contains("s3cret"), "{}", refused.text());
        }
        let nothing = ask(&server, "PATCH", &path, &json!({})).await;
        assert_eq!(nothing.status, 400);
        let slug = ask(&server, "PATCH", &path, &json!({ "slug": "other" })).await;
        assert!(message(&slug).starts_with("Unknown field 'slug'"), "{}", slug.text());
        let together = json!({ "minimum_notice_minutes": 60 * 24, "horizon_days": 1 });
        assert_eq!(ask(&server, "PATCH", &path, &together).await.status, 400);
        assert_eq!(server.get(&path).await.json()["data"]["horizon_days"], 60);
    }
);

both_backends!(
    async fn writes_need_their_scope_and_workspace(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server).await;
        let id = path.rsplit('/').next().unwrap();
        let with = async |key: &str, method: &str, path: &str, body: &Value| {
            server.request(method, path).bearer(key).json(body).send().await
        };

        for (method, path, body) in [
            ("POST", CALENDARS, sales()),
            ("PATCH", &*path, json!({ "slot_minutes": 5 })),
            ("DELETE", &*path, json!({})),
        ] {
            assert_eq!(with(&server.keys.read_only, method, path, &body).await.status, 403, "{method}");
        }
        for (method, body) in [("PATCH", json!({ "slot_minutes": 5 })), ("DELETE", json!({}))] {
            let foreign = with(&server.keys.other_workspace, method, &path, &body).await;
            let text = format!("Calendar not found: {id}.");
            assert_eq!((foreign.status, message(&foreign)), (404, text), "{method}");
        }
        let own = with(&server.keys.other_workspace, "POST", CALENDARS, &sales()).await;
        assert_eq!(own.status, 200, "another workspace may use the slug: {}", own.text());
        assert_eq!(server.get(&path).await.json()["data"]["slot_minutes"], 30);
    }
);

both_backends!(
    async fn the_assistants_that_use_a_calendar_follow_its_new_rules(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = adopt(&server, &db).await;
        let versions = "select count(*) from assistant_versions";
        let before = server.query_number(versions).await;

        let hours = json!({ "hours": { "thu": ["08:00-09:00"] } });
        let changed = ask(&server, "PATCH", &path, &hours).await;
        let unchanged = ask(&server, "PATCH", &path, &hours).await;

        assert_eq!((changed.status, unchanged.status), (200, 200), "{}", changed.text());
        assert_eq!(
            server.query_number(versions).await,
            before + 1,
            "one assistant of two uses it, with three tools"
        );
        let old = server.book_with(&json!({ "start": "2026-03-16 14:00", "title": "Demo" })).await;
        assert!(old.get("error").is_some(), "{old}");
        let new = server.book_with(&json!({ "start": "2026-03-19 08:00", "title": "Demo" })).await;
        assert_eq!(new["success"], true, "{new}");
    }
);

both_backends!(
    async fn a_calendar_that_tools_use_is_not_archived(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = adopt(&server, &db).await;

        let refused = ask(&server, "DELETE", &path, &json!({})).await;
        seed::execute(&db, "update tools set archived_at = 1").await;
        let archived = ask(&server, "DELETE", &path, &json!({})).await;

        let text = "The calendar 'demos' is used by these tools: 'availability', 'booking', 'cancelling'. Archive them first.";
        assert_eq!((refused.status, message(&refused).as_str()), (409, text));
        assert_eq!(archived.status, 200, "{}", archived.text());
    }
);

both_backends!(
    async fn changes_at_once_are_all_kept(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server).await;
        let changes = [
            json!({ "slot_minutes": 20 }),
            json!({ "buffer_minutes": 5 }),
            json!({ "horizon_days": 30 }),
            json!({ "bookings_per_day": 3 }),
        ];

        let answers = join_all(changes.iter().map(|change| ask(&server, "PATCH", &path, change))).await;

        assert!(answers.iter().all(|answer| answer.status == 200));
        let data = server.get(&path).await.json()["data"].clone();
        for change in &changes {
            for (field, value) in change.as_object().unwrap() {
                assert_eq!(data[field], *value, "{data}");
            }
        }
    }
);

both_backends!(
    async fn every_change_has_one_entry_in_the_audit_log(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = create(&server).await;
        for slot in [30, 20, 20] {
            assert_eq!(ask(&server, "PATCH", &path, &json!({ "slot_minutes": slot })).await.status, 200);
        }
        for (method, path) in [
            ("POST", format!("{path}/ics_link")),
            ("DELETE", format!("{path}/ics_link")),
            ("DELETE", format!("{path}/ics_link")),
            ("DELETE", path.clone()),
        ] {
            assert_eq!(ask(&server, method, &path, &json!({})).await.status, 200, "{method} {path}");
        }

        let select = "select action || ' ' || object_name || ' ' || actor_name || ' ' || coalesce(fields_before, '') || \
            coalesce(fields_after, '') from audit_log where object_kind = 'calendar' and action <> 'created'";
        let mut entries = seed::query_texts(&db, select).await;
        entries.sort();
        assert_eq!(
            entries,
            [
                "archived sales tests ",
                "revoked sales tests {\"ics_linked\":true}{\"ics_linked\":false}",
                "rotated sales tests {\"ics_linked\":false}{\"ics_linked\":true}",
                "updated sales tests {\"slot_minutes\":30}{\"slot_minutes\":20}",
            ]
        );
        let created = "select count(*) from audit_log where action = 'created' and object_kind = 'calendar' \
            and fields_after like '%\"slug\":\"sales\"%' and route = 'POST /v1/calendars'";
        assert_eq!(server.query_number(created).await, 1);
    }
);
