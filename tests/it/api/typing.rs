//! A visitor sees that a person types.

use std::time::Duration;

use rejoinder::service::typing;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::sse::Stream;
use crate::support::store;

/// Opens the visitor's stream.
async fn open(server: &TestServer) -> Stream {
    let mut stream = server.request("GET", &format!("/api/conversations/{WIDGET}/events")).stream().await;
    assert_eq!(stream.event().await.event.as_deref(), Some("status"));
    stream
}

async fn post(server: &TestServer, con: &str, body: &Value) -> Response {
    let path = format!("/v1/conversations/{con}/typing");
    server.request("POST", &path).bearer(&server.keys.full).json(body).send().await
}

/// The next frame is this one.
async fn expect(stream: &mut Stream, name: &str, data: &Value) {
    let block = stream.event().await;
    assert_eq!(block.event.as_deref(), Some(name), "{block:?}");
    let found: Value = serde_json::from_str(block.data.as_deref().unwrap()).unwrap();
    for (field, value) in data.as_object().unwrap() {
        assert_eq!(found[field], *value);
    }
}

both_backends!(
    async fn typing_expires_by_itself_and_is_no_event(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let mut stream = open(&server).await;
        let cursors = "select sum(next_cursor) from workspace_state";
        let before = server.query_number(cursors).await;

        let typed = post(&server, &con, &json!({})).await;
        assert_eq!((typed.status, &typed.json()["data"]), (200, &json!({ "typing": true })));
        expect(&mut stream, "typing", &json!({ "typing": true })).await;
        // A visitor who connects later sees it, too.
        let mut later = open(&server).await;
        expect(&mut later, "typing", &json!({ "typing": true })).await;
        server.advance_clock(&db, Duration::from_secs(10)).await;
        expect(&mut stream, "typing", &json!({ "typing": false })).await;

        let path = format!("/v1/conversations/{con}/typing");
        let without_body = server.request("POST", &path).bearer(&server.keys.full).send().await;
        assert_eq!(without_body.status, 200, "{}", without_body.text());
        expect(&mut stream, "typing", &json!({ "typing": true })).await;
        post(&server, &con, &json!({ "typing": false })).await;
        expect(&mut stream, "typing", &json!({ "typing": false })).await;

        assert_eq!(server.query_number(cursors).await, before);
        post(&server, &con, &json!({})).await;
        server.advance_clock(&db, Duration::from_secs(10)).await;
        typing::sweep(server.services()).await.unwrap();
        assert_eq!(server.query_number("select count(*) from typing").await, 0);
    }
);

both_backends!(
    async fn what_is_wrong_is_named(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;

        let unknown = post(&server, "con_01k9z3x8f5e4r9t2m6q7w8y0ab", &json!({})).await;
        let invalid = post(&server, &con, &json!({ "typing": "yes" })).await;
        let path = format!("/v1/conversations/{con}/typing");
        let foreign = server.request("POST", &path).bearer(&server.keys.other_workspace).send().await;

        assert_eq!(
            (unknown.status, unknown.header("rejoinder-error")),
            (404, Some("conversation_not_found"))
        );
        assert_eq!((invalid.status, invalid.header("rejoinder-error")), (400, Some("invalid_request")));
        assert_eq!(foreign.status, 404);
        assert_eq!(server.query_number("select count(*) from typing").await, 0);
    }
);

both_backends!(
    async fn a_message_of_the_person_ends_it(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let mut stream = open(&server).await;
        let message = json!({
            "conversation_id": con, "sender_id": "a", "sender_type": "agent", "text": "Hi", "auto_reply": false,
        });

        post(&server, &con, &json!({})).await;
        expect(&mut stream, "typing", &json!({ "typing": true })).await;
        assert_eq!(server.enqueue(message.to_string()).send().await.status, 200);
        expect(&mut stream, "message", &json!({ "content": "Hi" })).await;
        expect(&mut stream, "typing", &json!({ "typing": false })).await;
        post(&server, &con, &json!({})).await;
        expect(&mut stream, "typing", &json!({ "typing": true })).await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_at_another_process_is_seen() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let con = first.conversation_id(WIDGET).await;
    let mut stream = open(&second).await;

    post(&first, &con, &json!({})).await;
    expect(&mut stream, "typing", &json!({ "typing": true })).await;
    post(&first, &con, &json!({ "typing": false })).await;
    expect(&mut stream, "typing", &json!({ "typing": false })).await;
}
