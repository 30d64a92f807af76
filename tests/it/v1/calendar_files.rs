//! The feed address at which calendar programs read a calendar.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer};
use crate::support::store;

async fn read(server: &TestServer, path: &str) -> Response {
    server.request("GET", path).send().await
}

both_backends!(
    async fn a_feed_address_is_created_read_renewed_and_removed(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.book("2026-03-16 14:00", "Demo").await;
        let calendar = server.calendar().await;
        let is_linked = async || server.get(&calendar).await.json()["data"]["ics_linked"].clone();
        assert_eq!(is_linked().await, false, "none unless asked for");

        let first = server.calendar_link().await;
        let file = read(&server, &first).await;

        assert_eq!((file.status, file.header("content-type")), (200, Some("text/calendar; charset=utf-8")));
        assert!(file.text().contains("\r\nSUMMARY:Demo\r\n"), "{}", file.text());
        assert!(file.text().contains("\r\nDTSTART:20260316T130000Z\r\n"), "{}", file.text());
        assert_eq!(is_linked().await, true);

        let second = server.calendar_link().await;
        assert_ne!(first, second);
        assert_eq!(read(&server, &first).await.status, 404, "the old one is unknown");
        assert_eq!(read(&server, &second).await.text(), file.text());

        for _ in 0..2 {
            let removed = server.send_request("DELETE", &format!("{calendar}/ics_link")).await;
            assert_eq!((removed.status, &removed.json()["data"]["ics_linked"]), (200, &json!(false)));
        }
        assert_eq!(read(&server, &second).await.status, 404);
    }
);

both_backends!(
    async fn a_feed_address_is_only_in_the_response_that_creates_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let link = server.calendar_link().await;
        let token = link.trim_start_matches("/calendars/").trim_end_matches(".ics");
        let calendar = server.calendar().await;

        for path in ["/v1/calendars", calendar.as_str(), "/v1/events"] {
            let answer = server.get(path).await;
            assert_eq!(answer.status, 200);
            assert!(!answer.text().contains("ics_url") && !answer.text().contains(token), "{path}");
        }
        let removed = server.send_request("DELETE", &format!("{calendar}/ics_link")).await;
        assert!(!removed.text().contains("ics_url"), "{}", removed.text());
    }
);

both_backends!(
    async fn an_unchanged_file_is_a_304(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = server.calendar_link().await;
        let file = read(&server, &path).await;
        let tag = file.header("etag").unwrap().to_owned();
        let again = async || server.request("GET", &path).header("if-none-match", &tag).send().await;

        let known = again().await;
        let weak = server.request("GET", &path).header("if-none-match", &format!("W/{tag}")).send().await;
        let head = server.request("HEAD", &path).send().await;
        let booking = server.book("2026-03-16 14:00", "Demo").await;
        let booked = again().await;
        server.send_request("POST", &format!("{}/bookings/{booking}/cancel", server.calendar().await)).await;
        let cancelled = read(&server, &path).await;

        assert_eq!(file.header("cache-control"), Some("private, no-cache"));
        assert_eq!((known.status, known.text(), known.header("etag")), (304, "", Some(&*tag)));
        assert_eq!((weak.status, head.status, head.text()), (304, 200, ""));
        assert_eq!(booked.status, 200);
        assert!(booked.text().contains("\r\nSTATUS:CONFIRMED\r\n"), "{}", booked.text());
        assert_ne!(booked.header("etag"), cancelled.header("etag"));
        assert!(cancelled.text().contains("\r\nSTATUS:CANCELLED\r\n"), "{}", cancelled.text());
        assert!(cancelled.text().contains("\r\nSEQUENCE:1\r\n"), "{}", cancelled.text());
    }
);

both_backends!(
    async fn an_unknown_address_is_a_plain_text_404(db: TestDb) {
        let server = TestServer::start(&db).await;
        let calendar = server.calendar().await;
        let id = calendar.rsplit('/').next().unwrap();
        let link = server.calendar_link().await;

        for path in [
            "/calendars/7c9e6679742540de944be07fc1f90ae7.ics".to_owned(),
            format!("/calendars/{id}.ics"),
            "/calendars/.ics".to_owned(),
            "/calendars/%00.ics".to_owned(),
            "/calendars/%ff.ics".to_owned(),
            link.replace(".ics", ""),
            link.replace(".ics", ".ICS"),
        ] {
            let answer = read(&server, &path).await;
            assert_eq!((answer.status, answer.text()), (404, "There is no such calendar.\n"), "{path}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("rejoinder-error"), Some("calendar_not_found"));
        }
        assert_eq!(server.request("POST", &link).send().await.status, 405);
    }
);

both_backends!(
    async fn concurrent_renewals_leave_one_address(db: TestDb) {
        let server = TestServer::start(&db).await;

        let links = futures::future::join_all((0..6).map(|_| server.calendar_link())).await;

        let mut known = 0;
        for link in &links {
            known += usize::from(read(&server, link).await.status == 200);
        }
        assert_eq!(known, 1);
    }
);

both_backends!(
    async fn bookings_older_than_90_days_are_left_out(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.book("2026-03-16 14:00", "Old").await;
        let path = server.calendar_link().await;
        let days = |days: u64| std::time::Duration::from_hours(24 * days);

        server.advance_clock(&db, days(90)).await;
        let still = read(&server, &path).await;
        server.advance_clock(&db, days(2)).await;
        let gone = read(&server, &path).await;

        assert!(still.text().contains("SUMMARY:Old"));
        assert!(!gone.text().contains("SUMMARY:Old"));
        assert_eq!(server.bookings("").await.len(), 1, "the API returns it");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_limited_by_address() {
    let db = store::sqlite().await;
    let server =
        Setup::default().with_limits().env("REJOINDER_LIMITS__PER_ADDRESS", "3/hour").start(&db).await;
    let path = "/calendars/7c9e6679742540de944be07fc1f90ae7.ics";

    for remaining in ["2", "1", "0"] {
        let answer = read(&server, path).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (404, Some(remaining)));
    }
    let refused = read(&server, path).await;

    assert_eq!((refused.status, refused.text()), (429, "Too Many Attempts.\n"));
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_address_uses_the_public_url() {
    let db = store::sqlite().await;
    let setup = Setup::default().env("REJOINDER_PUBLIC_URL", "https://chat.example/rejoinder/");
    let server = setup.start(&db).await;

    let created = server.send_request("POST", &format!("{}/ics_link", server.calendar().await)).await.json();

    let url = created["data"]["ics_url"].as_str().unwrap();
    assert!(url.starts_with("https://chat.example/rejoinder/calendars/"), "{url}");
}

/// The events of a file as read by Python's `icalendar`, in order.
fn read_by_python(file: &[u8]) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/icalendar/bin/python");
    assert!(python.exists(), "{} is missing: scripts/setup installs it", python.display());
    let mut command = Command::new(python);
    command.arg("-c").arg(include_str!("calendar_files.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(file).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "icalendar reads it: scripts/setup installs what this needs");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_reads_the_same_bookings() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let title =
        "Grüße; a, b \\ c: \"d\" 😀 and a title that is longer than one line of the file can be at all";
    let notes = format!("One\nTwo\r\nEND:VEVENT\r\nThree {}", "ü".repeat(300));
    let arguments = json!({ "start": "2026-03-16 14:00", "title": title, "name": "Ada", "notes": notes });
    let booked = server.book_with(&arguments).await;
    let cancelled = server.book("2026-04-03 15:00", "Off").await;
    server.send_request("POST", &format!("{}/bookings/{cancelled}/cancel", server.calendar().await)).await;

    let file = read(&server, &server.calendar_link().await).await;

    let lines: Vec<&[u8]> = file.body.split(|byte| *byte == b'\n').collect();
    let (last, lines) = lines.split_last().unwrap();
    assert!(last.is_empty() && lines.iter().all(|line| line.ends_with(b"\r") && line.len() <= 76));
    let con = server.bookings("").await[0]["conversation_id"].as_str().unwrap().to_owned();
    let heading = format!("Name: Ada\nNotes: {}\n", notes.replace('\r', ""));
    let about = |id: &str| format!("Booking: {id}\nConversation: {con}");
    let id = booked["booking_id"].as_str().unwrap();
    assert_eq!(
        read_by_python(&file.body),
        json!({
            "name": "demos",
            "events": [
                {
                    "uid": id, "summary": title, "description": heading + &about(id), "status": "CONFIRMED",
                    "start": "2026-03-16T13:00:00+00:00", "end": "2026-03-16T14:00:00+00:00",
                    "stamp": "2026-03-15T14:22:11+00:00", "modified": "2026-03-15T14:22:11+00:00",
                    "sequence": 0,
                },
                {
                    "uid": cancelled, "summary": "Off", "description": about(&cancelled), "status": "CANCELLED",
                    "start": "2026-04-03T13:00:00+00:00", "end": "2026-04-03T14:00:00+00:00",
                    "stamp": "2026-03-15T14:22:11+00:00", "modified": "2026-03-15T14:22:11+00:00",
                    "sequence": 1,
                },
            ],
        })
    );
}
