//! The guarantee of cursors, with many writers in several processes: each reader gets every event exactly once and in order.
//! `FEED_WRITERS` (16) clients send `FEED_EVENTS` (600) messages; the long run has 50,000.

#![expect(clippy::print_stdout, reason = "the figures of the proof")]

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::head;
use crate::support::http::Http;
use crate::support::server::{Setup, TestServer};
use crate::support::sse::Stream;
use crate::support::store;

fn size<T: FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The sent messages of each conversation, in order.
type Sent = HashMap<String, Vec<String>>;

async fn write(servers: &[TestServer], writers: usize, messages: usize) -> Sent {
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let http = Http::new(servers[writer % servers.len()].url());
        let key = servers[0].keys.full.clone();
        let count = messages / writers;
        tasks.push(tokio::spawn(async move {
            let mut conversation = Value::Null;
            let mut ids = Vec::new();
            for nth in 0..count {
                let body = json!({
                    "conversation_id": conversation, "sender_id": format!("writer {writer}"), "sender_type": "user",
                    "text": format!("{nth}"), "auto_reply": false,
                });
                let sent = http.post("/v1/messages", &body).bearer(&key).send().await;
                assert_eq!(sent.status, 200, "{}", sent.text());
                let data = sent.json()["data"].clone();
                conversation = data["conversation_id"].clone();
                ids.push(data["message"]["id"].as_str().unwrap().to_owned());
            }
            (conversation.as_str().unwrap().to_owned(), ids)
        }));
    }
    let mut sent = Sent::new();
    for task in tasks {
        sent.extend([task.await.unwrap()]);
    }
    sent
}

/// Reads pages until there are `count` events, waiting `wait` seconds for each.
async fn by_pages(http: Http, key: String, begun: i64, count: usize, wait: u32) -> Vec<Value> {
    let (mut received, mut after) = (Vec::new(), begun.to_string());
    while received.len() < count {
        let path = format!("/v1/events?after={after}&limit=37&wait={wait}");
        let page = http.get(&path).bearer(&key).send().await;
        assert_eq!(page.status, 200, "{}", page.text());
        let data = &page.json()["data"];
        received.extend(data["items"].as_array().unwrap().iter().cloned());
        data["next_cursor"].as_str().unwrap().clone_into(&mut after);
        if wait == 0 {
            tokio::task::yield_now().await;
        }
    }
    received
}

/// Follows a stream, and reconnects from time to time.
async fn by_stream(http: Http, key: String, begun: i64, count: usize) -> Vec<Value> {
    let open = async |last: String| -> Stream {
        let request = http.get("/v1/events/stream").bearer(&key).header("last-event-id", &last);
        let stream = request.stream().await;
        assert_eq!(stream.status, 200);
        stream
    };
    let mut last = begun.to_string();
    let mut stream = open(last.clone()).await;
    let mut received = Vec::new();
    while received.len() < count {
        let event = stream.event().await;
        last = event.id.unwrap();
        received.push(serde_json::from_str(&event.data.unwrap()).unwrap());
        if received.len().is_multiple_of(251) {
            stream = open(last.clone()).await;
        }
    }
    received
}

fn check(reader: &str, received: &[Value], begun: i64, sent: &Sent) {
    let cursors = super::cursors(received);
    let last = begun + i64::try_from(received.len()).unwrap();
    assert_eq!(cursors, (begun + 1..=last).collect::<Vec<_>>(), "{reader}: every cursor once, in order");
    let mut messages = Sent::new();
    for event in received.iter().filter(|event| event["type"] == "message.created") {
        let conversation = event["data"]["conversation_id"].as_str().unwrap().to_owned();
        let message = event["data"]["message"]["id"].as_str().unwrap().to_owned();
        messages.entry(conversation).or_default().push(message);
    }
    assert!(messages == *sent, "{reader}: the messages of each conversation, in their order");
}

async fn prove(servers: Vec<TestServer>) {
    let (messages, writers) = (size("FEED_EVENTS", 600), size("FEED_WRITERS", 16));
    let messages = messages - messages % writers;
    let begun = head(&servers[0]).await;
    // The creation of each conversation is an event too.
    let count = messages + writers;
    let key = servers[0].keys.full.clone();
    let http: Vec<Http> = servers.iter().cycle().take(4).map(|server| Http::new(server.url())).collect();
    let started = Instant::now();
    let readers = [
        ("pages", tokio::spawn(by_pages(http[0].clone(), key.clone(), begun, count, 0))),
        ("pages elsewhere", tokio::spawn(by_pages(http[1].clone(), key.clone(), begun, count, 0))),
        ("long poll", tokio::spawn(by_pages(http[2].clone(), key.clone(), begun, count, 30))),
        ("stream", tokio::spawn(by_stream(http[3].clone(), key.clone(), begun, count))),
    ];

    let sent = Arc::new(write(&servers, writers, messages).await);
    let written = started.elapsed();

    for (reader, task) in readers {
        let patience = Duration::from_mins(2) + written;
        let received = tokio::time::timeout(patience, task).await.expect("all events in time").unwrap();
        check(reader, &received, begun, &sent);
    }
    println!(
        "{count} events by {writers} writers in {} processes: written in {written:?}, all read in {:?}",
        servers.len(),
        started.elapsed()
    );
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_event_once_in_order_while_three_processes_write() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let third = first.start_peer(&db, Setup::default().system_clock()).await;

    prove(vec![first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_event_once_in_order_while_one_process_writes() {
    let db = store::sqlite().await;
    let only = Setup::default().system_clock().start(&db).await;

    prove(vec![only]).await;
}
