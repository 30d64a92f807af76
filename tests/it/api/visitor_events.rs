//! The stream of a conversation's events for its visitor: what comes, what does not, and where it resumes.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::identities::{self, HEADER};
use crate::support::db::both_backends;
use crate::support::http::Request;
use crate::support::identity::{NOW, claims, token};
use crate::support::seed;
use crate::support::server::{RESTRICTED, Setup, TEST, TestServer, WIDGET};
use crate::support::sse::{Block, Stream};
use crate::support::store;
use crate::support::wait::wait_for;
use crate::support::workspaces;
use crate::v1::keys;

fn request(server: &TestServer, uuid: &str) -> Request {
    server.request("GET", &format!("/api/conversations/{uuid}/events"))
}

/// Opens a stream, and checks that it begins with the status. Returns its position.
async fn open(request: Request, status: &Value) -> (Stream, String) {
    let mut stream = request.stream().await;
    assert_eq!(stream.status, 200);
    let first = stream.event().await;
    assert_eq!((first.event.as_deref(), data(&first)), (Some("status"), status.clone()));
    (stream, first.id.expect("each frame has a position"))
}

fn data(block: &Block) -> Value {
    serde_json::from_str(block.data.as_deref().unwrap()).unwrap()
}

/// The next frame, which has this name.
async fn next(stream: &mut Stream, name: &str) -> Value {
    let block = stream.event().await;
    assert_eq!(block.event.as_deref(), Some(name), "{block:?}");
    data(&block)
}

/// The position of the conversation's newest event.
async fn position(server: &TestServer) -> String {
    open(request(server, WIDGET), &begun()).await.1
}

fn begun() -> Value {
    json!({ "ai_enabled": true, "ended": false })
}

/// A message of a sender type to a conversation, without a reply.
async fn send(server: &TestServer, con: &str, sender_type: &str, text: &str) {
    let body = json!({
        "conversation_id": con, "sender_id": "usr_secret", "sender_type": sender_type, "text": text,
        "metadata": { "crm": "internal" }, "auto_reply": false,
    });
    let sent = server.enqueue(body.to_string()).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
}

async fn patch(server: &TestServer, con: &str, body: &Value) {
    let path = format!("/v1/conversations/{con}");
    let patched = server.request("PATCH", &path).bearer(&server.keys.full).json(body).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text());
}

async fn history(server: &TestServer, uuid: &str) -> Vec<Value> {
    let history = server.request("GET", &format!("/api/conversations/{uuid}")).send().await.json();
    history["history"].as_array().unwrap().clone()
}

both_backends!(
    async fn a_visitor_sees_the_status_and_each_visible_message_and_nothing_internal(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let stream = request(&server, WIDGET).stream().await;
        let header = |name: &str| stream.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-store".into(), "no".into()));
        drop(stream);
        let (mut stream, _) = open(request(&server, WIDGET), &begun()).await;

        let mut seen = Vec::new();
        patch(&server, &con, &json!({ "ai_enabled": false })).await;
        assert_eq!(next(&mut stream, "status").await, json!({ "ai_enabled": false, "ended": false }));
        patch(&server, &con, &json!({ "metadata": { "crm": "internal" } })).await;
        send(&server, &con, "system", "of the system").await;
        send(&server, &con, "agent", "I am Ada.").await;
        server.post_message(WIDGET, "Hello Ada").send().await;
        for _ in 0..2 {
            seen.push(next(&mut stream, "message").await);
        }
        patch(&server, &con, &json!({ "ai_enabled": true })).await;
        assert_eq!(next(&mut stream, "status").await, begun());
        server.post_message(WIDGET, "Hello robot").send().await;
        for _ in 0..2 {
            seen.push(next(&mut stream, "message").await);
        }
        patch(&server, &con, &json!({ "ended": true })).await;
        assert_eq!(next(&mut stream, "status").await, json!({ "ai_enabled": true, "ended": true }));

        let text = json!(seen).to_string();
        assert!(["usr_", "metadata", "internal", "con_"].iter().all(|no| !text.contains(no)), "{text}");
        let history = history(&server, WIDGET).await;
        assert_eq!(seen, history[history.len() - 4..], "as in the history");
    }
);

both_backends!(
    async fn a_stream_resumes_without_a_gap_or_a_repetition(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        send(&server, &con, "agent", "old").await;
        let at_first = position(&server).await;
        for text in ["one", "two"] {
            send(&server, &con, "agent", text).await;
        }

        let by_header = request(&server, WIDGET).header("last-event-id", &at_first);
        let (mut stream, _) = open(by_header, &begun()).await;
        assert_eq!(next(&mut stream, "message").await["content"], "one");
        let second = stream.event().await;
        assert_eq!(data(&second)["content"], "two");
        send(&server, &con, "agent", "three").await;
        assert_eq!(next(&mut stream, "message").await["content"], "three", "nothing comes twice");
        drop(stream);

        let path = format!("/api/conversations/{WIDGET}/events?after={}", second.id.unwrap());
        let (mut stream, _) = open(server.request("GET", &path), &begun()).await;
        assert_eq!(next(&mut stream, "message").await["content"], "three");
        let (mut new, _) = open(request(&server, WIDGET), &begun()).await;
        send(&server, &con, "agent", "four").await;
        assert_eq!(next(&mut new, "message").await["content"], "four", "by default only what is new");
    }
);

both_backends!(
    async fn a_position_says_nothing_of_other_conversations(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (con, other) = (server.conversation_id(WIDGET).await, server.conversation_id(TEST).await);
        send(&server, &con, "agent", "old").await;
        let before = position(&server).await;

        send(&server, &other, "agent", "elsewhere").await;

        assert_eq!(position(&server).await, before);
    }
);

both_backends!(
    async fn a_stream_ends_when_the_secret_of_its_token_is_removed(db: TestDb) {
        let server = identities::start(&db).await;
        let token = token(&claims("42"));
        let uuid = identities::create(&server, &token).await;
        let con = server.conversation_id(&uuid).await;
        let (mut stream, _) = open(request(&server, &uuid).header(HEADER, &token), &begun()).await;

        seed::configure(&db, "delete from identity_secrets").await;
        send(&server, &con, "agent", "not for this reader").await;

        wait_for_end(&mut stream).await;
    }
);

both_backends!(
    async fn a_stream_ends_when_the_assistant_refuses_the_origin_of_its_page(db: TestDb) {
        let server = identities::start(&db).await;
        let token = token(&claims("42"));
        let identified = identities::create(&server, &token).await;
        let of_page = |uuid: &str| request(&server, uuid).header("Origin", "https://shop.example");
        let (mut of_anonymous, _) = open(of_page(WIDGET), &begun()).await;
        let (mut of_identified, _) = open(of_page(&identified).header(HEADER, &token), &begun()).await;

        let name = "name = \"Front desk\"";
        let restricted = format!("{name}\nallowed_origins = [\"https://other.example\"]");
        let file = identities::with_secret(&workspaces::workspace(&server.tool)).replace(name, &restricted);
        let clock = &server.services().clock;
        workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, &file).await.unwrap();
        for uuid in [WIDGET, &identified] {
            send(&server, &server.conversation_id(uuid).await, "agent", "not for this page").await;
        }

        wait_for_end(&mut of_anonymous).await;
        wait_for_end(&mut of_identified).await;
    }
);

both_backends!(
    async fn without_any_retained_event_a_message_between_two_streams_is_a_reset(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        seed::execute(&db, "update events set created_at = 0").await;
        server.worker().remove_old_events().await.unwrap();

        let at_first = position(&server).await;
        send(&server, &con, "agent", "between").await;
        let resumed = request(&server, WIDGET).header("last-event-id", &at_first);
        let (mut stream, _) = open(resumed, &begun()).await;

        assert_eq!(next(&mut stream, "reset").await, json!({}));
    }
);

both_backends!(
    async fn a_position_that_is_gone_is_a_reset(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        send(&server, &con, "agent", "old").await;
        let removed = position(&server).await;
        seed::execute(&db, "update events set created_at = 0").await;
        server.worker().remove_old_events().await.unwrap();

        for gone in [removed.as_str(), "evt_01k9z3x8f5e4r9t2m6q7w8y0ab"] {
            let resumed = request(&server, WIDGET).header("last-event-id", gone);
            let (mut stream, _) = open(resumed, &begun()).await;
            assert_eq!(next(&mut stream, "reset").await, json!({}), "{gone}");
            send(&server, &con, "agent", gone).await;
            assert_eq!(next(&mut stream, "message").await["content"], *gone);
        }
    }
);

both_backends!(
    async fn a_message_that_was_removed_is_skipped(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        send(&server, &con, "agent", "old").await;
        let at_first = position(&server).await;
        send(&server, &con, "agent", "removed").await;
        seed::execute(&db, "delete from messages where text = 'removed'").await;
        send(&server, &con, "agent", "kept").await;

        let resumed = request(&server, WIDGET).header("last-event-id", &at_first);
        let (mut stream, _) = open(resumed, &begun()).await;

        assert_eq!(next(&mut stream, "message").await["content"], "kept");
    }
);

both_backends!(
    async fn a_conversation_has_at_most_four_streams(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(open(request(&server, WIDGET), &begun()).await.0);
        }

        let fifth = request(&server, WIDGET).send().await;

        assert_eq!((fifth.status, fifth.header("rejoinder-error")), (429, Some("limit_reached")));
        assert_eq!(fifth.header("retry-after"), Some("5"));
        open(request(&server, TEST), &begun()).await;
        streams.pop();
        let has_room = async || (request(&server, WIDGET).open().await.status() == 200).then_some(());
        wait_for("a place", has_room).await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_leave_places_to_the_back_end() {
    let db = store::sqlite().await;
    let setup = Setup::default().env("REJOINDER_EVENTS__MAX_FOLLOWERS_PER_WORKSPACE", "4");
    let server = setup.start(&db).await;
    let mut streams = Vec::new();
    for uuid in [WIDGET, WIDGET, TEST] {
        streams.push(open(request(&server, uuid), &begun()).await.0);
    }

    let refused = request(&server, TEST).send().await;

    assert_eq!((refused.status, refused.header("rejoinder-error")), (503, Some("overloaded")));
    let feed = server.request("GET", "/v1/events/stream?after=latest").bearer(&server.keys.full);
    assert_eq!(feed.stream().await.status, 200);
}

both_backends!(
    async fn a_request_that_is_refused_follows_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({ "assistant_id": RESTRICTED });
        let created = server.request("POST", "/api/conversations").json(&body).send().await.json();
        let restricted = created["conversation_id"].as_str().unwrap();

        let origin = |origin: &str| request(&server, restricted).header("Origin", origin);
        let refused = origin("https://evil.example").send().await;
        assert_eq!((refused.status, refused.header("rejoinder-error")), (403, Some("origin_refused")));
        let unknown = request(&server, "00000000-0000-4000-8000-000000000000").send().await;
        assert_eq!(
            (unknown.status, unknown.header("rejoinder-error")),
            (404, Some("conversation_not_found"))
        );
        for query in ["after=x", "after=42", "types=message.created"] {
            let path = format!("/api/conversations/{WIDGET}/events?{query}");
            let invalid = server.request("GET", &path).send().await;
            let code = invalid.header("rejoinder-error");
            assert_eq!((invalid.status, code), (422, Some("invalid_request")), "{query}");
        }
        let garbage = request(&server, WIDGET).header("last-event-id", "x").send().await;
        assert_eq!(garbage.status, 422);
        assert_eq!(server.followers(), 0);
        open(origin("https://shop.example"), &begun()).await;
    }
);

both_backends!(
    async fn a_deletion_a_new_link_and_a_suspension_end_the_stream(db: TestDb) {
        let server = TestServer::start(&db).await;
        let [deleted, renewed] = [server.create_conversation().await, server.create_conversation().await];
        let (mut of_deleted, _) = open(request(&server, &deleted), &begun()).await;
        let (mut of_renewed, _) = open(request(&server, &renewed), &begun()).await;
        let (mut of_suspended, _) = open(request(&server, WIDGET), &begun()).await;
        let (key, _) = keys::create(&server, &[Scope::Erase]).await;

        let path = format!("/v1/conversations/{}", server.conversation_id(&deleted).await);
        assert_eq!(server.request("DELETE", &path).bearer(&key).send().await.status, 202);
        assert_eq!(of_deleted.block().await, None);
        assert_eq!(request(&server, &deleted).send().await.status, 404);

        let path = format!("/v1/conversations/{}/widget_link", server.conversation_id(&renewed).await);
        let link = server.request("POST", &path).bearer(&server.keys.full).json(&json!({})).send().await;
        assert_eq!(link.status, 200, "{}", link.text());
        assert_eq!(of_renewed.block().await, None);

        seed::configure(&db, "update workspaces set suspended_at = 1 where slug = 'demo'").await;
        assert_eq!(of_suspended.block().await, None);
        let refused = request(&server, WIDGET).send().await;
        assert_eq!((refused.status, refused.header("rejoinder-error")), (400, Some("workspace_suspended")));
    }
);

/// Waits until the stream ends, without another frame.
async fn wait_for_end(stream: &mut Stream) {
    while let Some(block) = stream.block().await {
        assert_eq!(block.data, None, "{block:?}");
    }
}

both_backends!(
    async fn a_stream_ends_with_its_token_and_a_newer_one_resumes_it(db: TestDb) {
        let server = identities::start(&db).await;
        let mut short = claims("42");
        short["exp"] = json!(NOW + 60);
        let (short, long) = (token(&short), token(&claims("42")));
        let uuid = identities::create(&server, &short).await;
        let con = server.conversation_id(&uuid).await;
        let with = |token: &str| request(&server, &uuid).header(HEADER, token);
        let (mut ending, _) = open(with(&short), &begun()).await;
        let (mut lasting, _) = open(with(&long), &begun()).await;

        // Clocks may differ by a minute.
        server.advance_clock(&db, Duration::from_secs(119)).await;
        send(&server, &con, "agent", "one").await;
        let last = ending.event().await;
        assert_eq!(data(&last)["content"], "one");
        server.advance_clock(&db, Duration::from_secs(1)).await;
        send(&server, &con, "agent", "two").await;

        wait_for_end(&mut ending).await;
        for content in ["one", "two"] {
            assert_eq!(next(&mut lasting, "message").await["content"], content);
        }
        let expired = with(&short).send().await;
        let code = expired.header("rejoinder-error");
        assert_eq!((expired.status, code), (404, Some("conversation_not_found")));
        let resumed = with(&long).header("last-event-id", last.id.as_deref().unwrap());
        let (mut resumed, _) = open(resumed, &begun()).await;
        assert_eq!(next(&mut resumed, "message").await["content"], "two");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_at_another_process_arrives() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let con = first.conversation_id(WIDGET).await;
    let (mut stream, _) = open(request(&second, WIDGET), &begun()).await;

    send(&first, &con, "agent", "I am Ada.").await;

    assert_eq!(next(&mut stream, "message").await["content"], "I am Ada.");
}
