//! Idempotency keys are scoped by tenant, route and conversation: the same key is used in all scopes at once, and no scope
//! sees the record of another.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Setup};
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::http::client;

/// The assistants of the two tenants.
const ASSISTANTS: [&str; 2] =
    ["550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001"];

/// A request whose idempotency keys have a scope of their own.
struct KeyScope {
    /// The tenant's API key.
    key: String,
    path: String,
    body: Value,
    other_body: Value,
}

#[derive(Debug)]
struct Response {
    status: u16,
    body: Bytes,
    is_replay: bool,
    turn: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_are_separate_on_sqlite() {
    check_scopes(Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_are_separate_on_postgres() {
    check_scopes(Backend::Postgres, 2).await;
}

async fn check_scopes(backend: Backend, processes: usize) {
    let cluster = Cluster::start(Setup::new(backend, processes)).await;
    let mut scopes = Vec::new();
    for (tenant, key) in [cluster.key.clone(), cluster.second_tenant(ASSISTANTS)].into_iter().enumerate() {
        scopes.extend(scopes_of(&cluster, &key, ASSISTANTS[tenant]).await);
    }
    let keys = size("CHAOS_KEYS", 24).min(200);
    let mut distinct = HashSet::new();
    for nth in 0..keys {
        let key = format!("key-{nth}");
        let first = send_to_all(&cluster, &scopes, &key, nth, |scope| &scope.body).await;
        let again = send_to_all(&cluster, &scopes, &key, nth + 1, |scope| &scope.body).await;
        let other = send_to_all(&cluster, &scopes, &key, nth, |scope| &scope.other_body).await;
        for (((scope, first), again), other) in scopes.iter().zip(&first).zip(&again).zip(&other) {
            assert_eq!((first.status, first.is_replay), (200, false), "{}: {first:?}", scope.path);
            assert_eq!((again.status, again.is_replay), (200, true), "{}: {again:?}", scope.path);
            assert_eq!((&again.body, &again.turn), (&first.body, &first.turn), "{}", scope.path);
            assert_eq!(other.status, 422, "{}: {other:?}", scope.path);
            distinct.insert((first.turn.clone(), first.body.clone()));
        }
    }
    assert_eq!(distinct.len(), scopes.len() * keys, "each key was new in each scope");
    let asked = cluster.fakes.model.calls().all();
    let widget = scopes.iter().filter(|scope| scope.path.starts_with("/api")).count();
    let messages = scopes.iter().filter(|scope| scope.path == "/v1/messages").count();
    assert!(asked.len() <= (widget + messages) * keys, "{} model calls", asked.len());
    println!("keys: {keys} keys, each in {} scopes of two tenants, kept apart", scopes.len());
}

/// Two widget conversations, a test conversation, and two routes of the platform API.
async fn scopes_of(cluster: &Cluster, key: &str, assistant: &str) -> Vec<KeyScope> {
    let address = cluster.some_address(0).await;
    let create = async |kind: &str| -> Value {
        let body = json!({ "assistant_id": assistant, "type": kind });
        let request = client().post(format!("{address}/v1/conversations")).bearer_auth(key).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let scope = |path: String, body: Value, other_body: Value| KeyScope {
        key: key.to_owned(),
        path,
        body,
        other_body,
    };
    let mut scopes = Vec::new();
    for kind in ["widget", "widget", "test"] {
        let created = create(kind).await;
        let uuid = created["data"]["widget_uuid"].as_str().unwrap();
        let path = format!("/api/conversations/{uuid}/messages");
        scopes.push(scope(path, json!({ "message": "Hi" }), json!({ "message": "Another" })));
    }
    let created = create("api").await;
    let message = |text: &str| json!({ "conversation_id": created["data"]["id"], "sender_id": "u", "sender_type": "user", "text": text });
    scopes.push(scope("/v1/messages".to_owned(), message("Hi"), message("Another")));
    let creation = |kind: &str| json!({ "assistant_id": assistant, "type": kind });
    scopes.push(scope("/v1/conversations".to_owned(), creation("api"), creation("test")));
    scopes
}

async fn send_to_all(
    cluster: &Arc<Cluster>,
    scopes: &[KeyScope],
    key: &str,
    node: usize,
    body: fn(&KeyScope) -> &Value,
) -> Vec<Response> {
    let address = cluster.some_address(node).await;
    let http = client();
    let sent = scopes.iter().map(async |scope| {
        let request = http.post(format!("{address}{}", scope.path)).json(body(scope));
        let request = request.bearer_auth(&scope.key).header("idempotency-key", key);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let is_replay = answer.headers().contains_key("idempotent-replayed");
        let turn = answer.headers().get("rejoinder-turn").map(|turn| turn.to_str().unwrap().to_owned());
        Response { status, body: answer.bytes().await.unwrap(), is_replay, turn }
    });
    join_all(sent).await
}
