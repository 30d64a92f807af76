//! The feed as server-sent events.

use std::time::{Duration, Instant};

use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::service::keys::{self, CreateKey};
use serde_json::Value;

use super::{head, page, parts};
use crate::support::db::both_backends;
use crate::support::server::TestServer;
use crate::support::sse::{Block, Stream};
use crate::support::store;
use crate::support::wait::wait_for;

async fn open(server: &TestServer, query: &str) -> Stream {
    let stream = server.request("GET", &format!("/v1/events/stream?{query}")).bearer(&server.keys.read_only);
    let stream = stream.stream().await;
    assert_eq!(stream.status, 200);
    stream
}

both_backends!(
    async fn events_are_streamed_like_the_feed_oldest_first(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "old").await;
        let mut stream = open(&server, &format!("conversation_id={con}")).await;

        let first = stream.block().await.unwrap();
        let old = [stream.event().await, stream.event().await];
        server.store_message(None, "of another").await;
        // White space in metadata is unchanged, but a frame is a single line.
        let body = format!(
            r#"{{"conversation_id":"{con}","sender_id":"u","sender_type":"user","text":"new","auto_reply":false,"metadata":{{"a":{}1}}}}"#,
            "\r\n"
        );
        assert_eq!(server.enqueue(body).send().await.status, 200);
        let new = stream.event().await;

        let header = |name: &str| stream.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-store".into(), "no".into()));
        assert!(stream.headers.get("content-encoding").is_none());
        assert_eq!((first.retry.as_deref(), first.data), (Some("2000"), None));
        let (items, _) = parts(&page(&server, &format!("conversation_id={con}")).await);
        let as_items = old.iter().chain([&new]).map(|block| {
            let item: Value = serde_json::from_str(block.data.as_deref().unwrap()).unwrap();
            assert_eq!(block.id.as_deref(), item["cursor"].as_str());
            assert_eq!(block.event.as_deref(), item["type"].as_str());
            item
        });
        assert_eq!(as_items.collect::<Vec<_>>(), items);
    }
);

both_backends!(
    async fn a_stream_resumes_after_last_event_id(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let con = server.store_message(None, "one").await;
        server.store_message(Some(&con), "two").await;
        let resume = async |last: &str, query: &str| {
            let path = format!("/v1/events/stream?{query}");
            let request = server.request("GET", &path).bearer(&server.keys.full);
            request.header("last-event-id", last).stream().await
        };

        let last = (begun + 1).to_string();
        let mut resumed = resume(&last, "after=latest").await;
        assert_eq!(resumed.event().await.id, Some((begun + 2).to_string()), "the header wins");
        let mut anew = resume("", &format!("after={last}&types=message.created")).await;
        assert_eq!(anew.event().await.id, Some((begun + 2).to_string()), "an empty header is ignored");
        let (malformed, absent) = (400, 409);
        for (garbage, status) in [
            ("x", malformed),
            ("-1", malformed),
            ("\u{e9}", malformed),
            ("99999", absent),
            ("evt_01k9z3x8f5e4r9t2m6q7w8y0ab", absent),
        ] {
            let request = server.request("GET", "/v1/events/stream").bearer(&server.keys.full);
            let answer = request.header("last-event-id", garbage).send().await;
            let text = answer.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, status, "{garbage}: {text}");
            assert!(text.starts_with("Header 'Last-Event-ID' "), "{text}");
        }
    }
);

both_backends!(
    async fn errors_before_the_first_event_use_the_platform_envelope(db: TestDb) {
        let server = TestServer::start(&db).await;
        let ask = async |key: &str, query: &str| {
            server.request("GET", &format!("/v1/events/stream?{query}")).bearer(key).send().await
        };

        for (key, query, status, code) in [
            (&server.keys.revoked, "", 401, "invalid_token"),
            (&server.keys.full, "types=x", 400, "invalid_request"),
            (&server.keys.full, "conversation_id=con_1", 404, "conversation_not_found"),
        ] {
            let answer = ask(key, query).await;
            assert_eq!((answer.status, answer.header("rejoinder-error")), (status, Some(code)), "{query}");
            assert_eq!(answer.json()["status"], "error");
        }
        assert_eq!(server.followers(), 0);
    }
);

both_backends!(
    async fn a_key_that_is_revoked_ends_its_streams_within_five_seconds(db: TestDb) {
        let server = TestServer::start(&db).await;
        let request = CreateKey {
            workspace: "demo".to_owned(),
            name: "a reader".to_owned(),
            scopes: Vec::new(),
            expires_in: None,
        };
        let (secret, key) =
            keys::create(server.db(), &SystemClock, &IdGenerator::random(), request).await.unwrap();
        let by_it = server.request("GET", "/v1/events/stream?after=latest").bearer(secret.expose());
        let mut by_it = by_it.stream().await;
        let mut by_other = open(&server, "after=latest").await;
        assert!(by_it.block().await.is_some() && by_other.block().await.is_some());

        let revoked = Instant::now();
        keys::revoke(server.db(), &SystemClock, &IdGenerator::random(), key.id).await.unwrap();

        assert_eq!(by_it.block().await, None);
        assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
        server.store_message(None, "Hi").await;
        assert_eq!(by_other.event().await.event.unwrap(), "conversation.created");
    }
);

both_backends!(
    async fn a_stop_ends_streams_cleanly_at_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut stream = open(&server, "after=latest").await;
        assert!(stream.block().await.is_some());

        let stopped = Instant::now();
        let (end, ()) = tokio::join!(stream.block(), server.stop());

        assert_eq!(end, None, "the last chunk was sent");
        assert!(stopped.elapsed() < Duration::from_secs(10), "the grace is 25 s");
    }
);

both_backends!(
    async fn all_kinds_of_readers_share_reads_and_miss_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let mut streams = Vec::new();
        for query in ["", "types=message.created", "types=conversation.created"] {
            for _ in 0..3 {
                streams.push((query, open(&server, &format!("after={begun}&{query}")).await));
            }
        }

        for text in ["1", "2", "3"] {
            server.store_message(None, text).await;
        }

        for (query, mut stream) in streams {
            let expected = match query {
                "" => vec![1, 2, 3, 4, 5, 6],
                "types=message.created" => vec![2, 4, 6],
                _ => vec![1, 3, 5],
            };
            for step in expected {
                assert_eq!(stream.event().await.id, Some((begun + step).to_string()), "{query}");
            }
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_client_frees_its_follower_slot() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let mut stream = open(&server, "after=latest").await;
    stream.block().await;
    assert_eq!(server.followers(), 1);

    drop(stream);

    wait_for("the follower slot to be free", async || (server.followers() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_gets_pings_with_its_position() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let begun = head(&server).await;
    let mut stream = open(&server, &format!("after={begun}&types=reply.failed")).await;
    stream.block().await;

    let silent_from = Instant::now();
    server.store_message(None, "not wanted").await;
    let ping = stream.block().await.unwrap();

    assert!(silent_from.elapsed() < Duration::from_secs(15));
    let comment = Some("ping".to_owned());
    assert_eq!(ping, Block { id: Some((begun + 2).to_string()), comment, ..Block::default() });
}
