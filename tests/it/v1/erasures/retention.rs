//! The retention of a workspace: what is removed when its time is over, and what stays.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::create_key;
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::receiver::FakeReceiver;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

fn setup(retention: &'static str) -> Setup {
    Setup::default().workspace(move |text| {
        text.replace("balance = \"10.00\"", &format!("balance = \"10.00\"\nretention = {{ {retention} }}"))
    })
}

const DAY: Duration = Duration::from_hours(24);

both_backends!(
    async fn conversations_are_erased_a_while_after_their_last_message(db: TestDb) {
        let server = setup("conversations = \"30d\"").start(&db).await;
        let (idle, busy) = (server.store_message(None, "Hi").await, server.store_message(None, "Hi").await);
        server.advance_clock(&db, 20 * DAY).await;
        server.store_message(Some(&busy), "again").await;
        server.worker().apply_retentions().await.unwrap();
        let key = create_key(&server, "demo", &[Scope::Erase, Scope::Read]).await;
        let erasures = async || {
            let listed = server.request("GET", "/v1/erasures").bearer(&key).send().await.json();
            listed["data"]["items"].as_array().unwrap().clone()
        };
        assert_eq!(erasures().await, Vec::<Value>::new());

        server.advance_clock(&db, 11 * DAY).await;
        server.worker().apply_retentions().await.unwrap();
        let done = async || erasures().await.pop().filter(|erasure| erasure["state"] == "done");
        let erasure = wait_for("the erasure to be done", done).await;
        server.worker().apply_retentions().await.unwrap();

        assert_eq!(erasure["reason"], "retention");
        assert_eq!(server.get(&format!("/v1/conversations/{idle}")).await.status, 404);
        assert_eq!(server.messages(&busy).await.len(), 2);
        assert_eq!(erasures().await.len(), 1, "there is nothing more to erase");
        let audited = "select count(*) from audit_log where action = 'deleted' and actor_kind = 'server'";
        assert_eq!(server.query_number(audited).await, 1);
    }
);

both_backends!(
    async fn without_a_retention_everything_stays(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        server.book("2026-03-16 14:00", "Demo").await;
        server.advance_clock(&db, 3000 * DAY).await;
        let before = server.row_counts().await;

        server.worker().apply_retentions().await.unwrap();

        assert_eq!(server.row_counts().await, before);
        assert_eq!(server.messages(&con).await.len(), 1);
        assert_eq!(server.bookings("").await[0]["title"], "Demo");
    }
);

both_backends!(
    async fn journals_and_bookings_have_retentions_of_their_own(db: TestDb) {
        let retention = "journals = \"10d\", bookings = \"5d\"";
        let server = setup(retention).start(&db).await;
        let arguments = json!({ "start": "2026-03-16 14:00", "title": "Demo", "name": "Ada" });
        let call = ToolCall::new("book_appointment", &arguments);
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);
        server.post_message(WIDGET, "Book it").send().await;
        let counts = async || {
            let journal = server.query_number("select count(*) from journal").await;
            let calls =
                server.query_number("select count(*) from messages where function_calls <> '[]'").await;
            let names = server.query_number("select count(*) from bookings where name is not null").await;
            (journal > 0, calls, names)
        };
        assert_eq!(counts().await, (true, 1, 1));

        let mut seen = Vec::new();
        for days in [1, 6, 5] {
            server.advance_clock(&db, days * DAY).await;
            server.worker().apply_retentions().await.unwrap();
            seen.push(counts().await);
        }

        assert_eq!(seen, [(true, 1, 1), (true, 1, 0), (false, 0, 0)]);
        let entries = "select object_id || ' ' || fields_after from audit_log where object_kind = 'retention' \
            and action = 'deleted' and actor_kind = 'server' order by id";
        let entries = seed::query_texts(&db, entries).await;
        assert_eq!(entries.len(), 2, "one for each sweep that removed something: {entries:?}");
        assert_eq!(entries[0], "bookings {\"removed\":1}");
        assert!(entries[1].starts_with("journals {\"removed\":"), "{entries:?}");
        let booking = server.bookings("").await[0].clone();
        assert_eq!((&booking["title"], &booking["state"]), (&json!(""), &json!("booked")));
        let con = server.conversation_id(WIDGET).await;
        assert!(server.messages(&con).await.len() >= 2, "the conversation stays");
    }
);

/// In what the tool of a turn gets and answers, and in the error of a model.
const MARKER: &str = "qzxmarker";

both_backends!(
    async fn a_retention_of_journals_removes_calls_and_errors_wherever_they_are(db: TestDb) {
        let edit = |text: String| {
            let retention = "balance = \"10.00\"\nretention = { journals = \"10d\" }";
            text.replace("balance = \"10.00\"", retention)
        };
        let setup = Setup::default().env("REJOINDER_OUTBOUND__ALLOW_HOSTS", "127.0.0.1").workspace(edit);
        let server = setup.start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.script().respond_with(|request| ToolReply::json(&request.json()));
        receiver.create_endpoint(&server, &db, "/echo").await;
        server.tool.script().respond_with(|_| ToolReply::json(&json!({ "of": MARKER })));
        let call = ToolCall::new("get_order_status", &json!({ "order_id": MARKER }));
        server.model.script().queue([
            Reply::tool_calls([call]),
            Reply::text("It is on its way."),
            Reply::error(http::StatusCode::FORBIDDEN, MARKER),
        ]);
        assert_eq!(server.post_message(WIDGET, "Where is it?").send().await.status, 200);
        assert_eq!(server.post_message(WIDGET, "And now?").send().await.status, 400);
        let attempted = async || {
            let echoed = format!("select count(*) from attempts where excerpt like '%{MARKER}%'");
            (server.query_number(&echoed).await == 1).then_some(())
        };
        wait_for("the endpoint to have answered", attempted).await;
        let events = server.get("/v1/events?limit=200").await.json()["data"]["items"].clone();

        server.advance_clock(&db, 11 * DAY).await;
        server.worker().apply_retentions().await.unwrap();

        let rows = seed::contents(&db).await;
        assert_eq!(rows.iter().filter(|row| row.contains(MARKER)).collect::<Vec<_>>(), Vec::<&String>::new());
        let cleaned = async || {
            let stored = db.stored_bytes();
            let has_marker = stored.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
            (!has_marker).then_some(())
        };
        wait_for("the files to be cleaned", cleaned).await;
        let after = server.get("/v1/events?limit=200").await.json()["data"]["items"].clone();
        let mut expected = events;
        for event in expected.as_array_mut().unwrap() {
            if let Some(message) = event.pointer_mut("/data/message").and_then(Value::as_object_mut) {
                message.remove("function_calls");
            }
        }
        assert_eq!(after, expected, "the events lose nothing else");
        let con = server.conversation_id(WIDGET).await;
        let texts = server.messages(&con).await;
        assert!(texts.iter().any(|message| message["text"] == "It is on its way."), "{texts:?}");
    }
);
