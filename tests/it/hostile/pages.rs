//! Large rows, as an older version may have stored them: no response reads more than a bounded number of bytes, and a client that
//! goes on as documented gets all.

use std::collections::BTreeSet;

use rejoinder::domain::ids::MessageId;
use serde_json::Value;
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::fake_model::Reply;
use crate::support::seed::{self, literal};
use crate::support::server::{TestServer, WIDGET};
use crate::support::sse::Stream;

const KIB: usize = 1024;
const ROW: usize = 300 * KIB;
const ROWS: i64 = 12;
/// What a page of the API may have: its rows, and as much for the rest.
const PAGE: usize = (1024 + 16) * KIB;
/// The time of the test server's clock, in microseconds, so that retention leaves the rows alone.
const NOW: i64 = 1_773_584_531_000_000;

fn message_id(number: i64) -> MessageId {
    MessageId(Uuid::from_u128(u128::try_from(number).unwrap()))
}

/// Stores [`ROWS`] messages of [`ROW`] bytes in the demo's conversation, after its own.
async fn insert_messages(db: &TestDb) {
    let link = literal(db, WIDGET.parse().unwrap());
    let text = "x".repeat(ROW);
    for number in 1..=ROWS {
        let (position, id) = (1_000 + number, literal(db, message_id(number).0));
        let insert = format!(
            "insert into messages select workspace_id, conversation_id, {position}, {id}, 'user', 'visitor', '{text}', null, \
             null, null, null, false, null, {NOW}, false, null, null, null from widget_links where id = {link}"
        );
        seed::execute(db, &insert).await;
    }
}

/// Stores [`ROWS`] events of [`ROW`] bytes in the workspace of the demo's conversation, and returns the cursor before them.
async fn insert_events(db: &TestDb) -> i64 {
    let link = literal(db, WIDGET.parse().unwrap());
    let workspace = format!("(select workspace_id from widget_links where id = {link})");
    let next = format!("select next_cursor from workspace_state where workspace_id = {workspace}");
    let next = seed::query_number(db, &next).await;
    let text = "x".repeat(ROW);
    for cursor in next..next + ROWS {
        let id = literal(db, Uuid::new_v4());
        let body = format!(r#"{{"cursor":"{cursor}","text":"{text}"}}"#);
        let kind = if cursor % 2 == 0 { "message.created" } else { "reply.failed" };
        let insert = format!(
            "insert into events values ({workspace}, {cursor}, {id}, '{kind}', null, '{body}', {NOW});
             update workspace_state set next_cursor = {cursor} + 1 where workspace_id = {workspace};"
        );
        seed::execute(db, &insert).await;
    }
    next - 1
}

async fn history(server: &TestServer, query: &str) -> Vec<String> {
    let response = server.request("GET", &format!("/api/conversations/{WIDGET}{query}")).send().await;
    assert_eq!(response.status, 200);
    assert!(response.text().len() <= PAGE, "{} bytes", response.text().len());
    let body = response.json();
    let entries = body["history"].as_array().unwrap().iter();
    entries.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

both_backends!(
    async fn a_visitors_history_has_a_mebibyte_and_goes_on_after_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        insert_messages(&db).await;
        let ids = |numbers: std::ops::RangeInclusive<i64>| {
            numbers.map(|number| message_id(number).to_string()).collect::<Vec<_>>()
        };

        let newest = history(&server, "").await;
        assert_eq!(newest, ids(10..=12));
        assert_eq!(history(&server, "?limit=2").await, ids(11..=12));

        let mut read = ids(1..=1);
        loop {
            let page = history(&server, &format!("?after={}", read.last().unwrap())).await;
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 3);
            read.extend(page);
        }
        assert_eq!(read, ids(1..=12));
    }
);

/// Reads a list of the platform API to its end, and returns a field of all items.
async fn walk(server: &TestServer, path: &str, parameter: &str, field: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let response = server.get(&format!("{path}{next}")).await;
        assert!(response.text().len() <= PAGE, "{} bytes", response.text().len());
        let data = response.json()["data"].clone();
        let items = data["items"].as_array().unwrap();
        all.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        match data["next_cursor"].as_str() {
            Some(cursor) if !items.is_empty() => next = format!("&{parameter}={cursor}"),
            _ => return all,
        }
    }
}

both_backends!(
    async fn pages_of_the_platform_api_have_a_mebibyte_and_skip_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        insert_messages(&db).await;
        let before = insert_events(&db).await;
        let conversation = server.conversation_id(WIDGET).await;

        let path = format!("/v1/conversations/{conversation}/messages?limit=200");
        let messages = walk(&server, &path, "cursor", "id").await;
        let mine: Vec<_> = (1..=ROWS).map(|number| message_id(number).to_string()).collect();
        assert!(messages.ends_with(&mine), "{messages:?}");
        assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), messages.len());

        let all = walk(&server, "/v1/events?limit=200", "after", "cursor").await;
        let cursors: Vec<_> = (before + 1..=before + ROWS).map(|cursor| cursor.to_string()).collect();
        assert!(all.ends_with(&cursors), "{all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let failed = walk(&server, "/v1/events?limit=200&types=reply.failed", "after", "cursor").await;
        let odd = (before + 1..=before + ROWS).filter(|cursor| cursor % 2 != 0);
        assert_eq!(failed, odd.map(|cursor| cursor.to_string()).collect::<Vec<_>>());
        // A long poll returns what a page does.
        let waiting = server.get(&format!("/v1/events?limit=200&wait=5&after={before}")).await;
        assert!(waiting.text().len() <= PAGE);
        assert_eq!(waiting.json()["data"]["next_cursor"], (before + 3).to_string());
    }
);

both_backends!(
    async fn a_stream_sends_each_large_event_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = insert_events(&db).await;
        let path = format!("/v1/events/stream?after={before}");

        let mut stream: Stream = server.request("GET", &path).bearer(&server.keys.full).stream().await;

        for cursor in before + 1..=before + ROWS {
            assert_eq!(stream.event().await.id, Some(cursor.to_string()));
        }
    }
);

both_backends!(
    async fn a_trace_reads_four_mebibytes_of_a_journal(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::text("Done.")]);
        let response = server.post_message(WIDGET, "Hello").send().await;
        let path = format!("/v1/turns/{}", response.header("rejoinder-turn").unwrap());
        let trace = async || server.get(&path).await.json()["data"].clone();
        assert_eq!(trace().await["truncated"], Value::Null);

        let text = "x".repeat(1024 * KIB);
        for step in 1..=6 {
            let insert = format!(
                "insert into journal select workspace_id, turn_id, {step}, position, conversation_id, attempt, started_at, \
                 finished_at, content, '{text}' from journal where step = 0 and position = 0"
            );
            seed::execute(&db, &insert).await;
        }

        let cut = trace().await;
        assert_eq!(cut["truncated"], true);
        let steps: Vec<_> =
            cut["rounds"].as_array().unwrap().iter().map(|round| round["number"].clone()).collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }
);
