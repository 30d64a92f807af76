//! I3: keys of two tenants, routes or conversations never meet. Each key is used in all places at once, on both
//! databases.

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

/// Where a key means something of its own.
struct Place {
    /// The tenant's.
    key: String,
    path: String,
    body: Value,
    other_body: Value,
}

#[derive(Debug)]
struct Told {
    status: u16,
    body: Bytes,
    is_replay: bool,
    turn: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_meet_sqlite() {
    never_meet(Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_meet_postgres() {
    never_meet(Backend::Postgres, 2).await;
}

async fn never_meet(backend: Backend, processes: usize) {
    let cluster = Cluster::start(Setup::new(backend, processes)).await;
    let mut places = Vec::new();
    for (tenant, key) in [cluster.key.clone(), cluster.second_tenant(ASSISTANTS)].into_iter().enumerate() {
        places.extend(places_of(&cluster, &key, ASSISTANTS[tenant]).await);
    }
    let keys = size("CHAOS_KEYS", 24).min(200);
    let mut made = HashSet::new();
    for nth in 0..keys {
        let key = format!("key-{nth}");
        let first = at_all(&cluster, &places, &key, nth, |place| &place.body).await;
        let again = at_all(&cluster, &places, &key, nth + 1, |place| &place.body).await;
        let other = at_all(&cluster, &places, &key, nth, |place| &place.other_body).await;
        for (((place, first), again), other) in places.iter().zip(&first).zip(&again).zip(&other) {
            assert_eq!((first.status, first.is_replay), (200, false), "{}: {first:?}", place.path);
            assert_eq!((again.status, again.is_replay), (200, true), "{}: {again:?}", place.path);
            assert_eq!((&again.body, &again.turn), (&first.body, &first.turn), "{}", place.path);
            assert_eq!(other.status, 422, "{}: {other:?}", place.path);
            made.insert((first.turn.clone(), first.body.clone()));
        }
    }
    assert_eq!(made.len(), places.len() * keys, "each key was the first of its kind in each place");
    let asked = cluster.fakes.model.calls().all();
    let widget = places.iter().filter(|place| place.path.starts_with("/api")).count();
    let messages = places.iter().filter(|place| place.path == "/v1/messages").count();
    assert!(asked.len() <= (widget + messages) * keys, "{} model calls", asked.len());
    println!("keys: {keys} keys, each in {} places of two tenants, never met", places.len());
}

/// Two widget conversations, a test one, and the two routes of the platform door.
async fn places_of(cluster: &Cluster, key: &str, assistant: &str) -> Vec<Place> {
    let address = cluster.some_address(0).await;
    let create = async |kind: &str| -> Value {
        let body = json!({ "assistant_id": assistant, "type": kind });
        let request = client().post(format!("{address}/v1/conversations")).bearer_auth(key).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let place =
        |path: String, body: Value, other_body: Value| Place { key: key.to_owned(), path, body, other_body };
    let mut places = Vec::new();
    for kind in ["widget", "widget", "test"] {
        let made = create(kind).await;
        let uuid = made["data"]["widget_uuid"].as_str().unwrap();
        let path = format!("/api/conversations/{uuid}/messages");
        places.push(place(path, json!({ "message": "Hi" }), json!({ "message": "Another" })));
    }
    let made = create("api").await;
    let message = |text: &str| json!({ "conversation_id": made["data"]["id"], "sender_id": "u", "sender_type": "user", "text": text });
    places.push(place("/v1/messages".to_owned(), message("Hi"), message("Another")));
    let creation = |kind: &str| json!({ "assistant_id": assistant, "type": kind });
    places.push(place("/v1/conversations".to_owned(), creation("api"), creation("test")));
    places
}

async fn at_all(
    cluster: &Arc<Cluster>,
    places: &[Place],
    key: &str,
    node: usize,
    body: fn(&Place) -> &Value,
) -> Vec<Told> {
    let address = cluster.some_address(node).await;
    let http = client();
    let sent = places.iter().map(async |place| {
        let request = http.post(format!("{address}{}", place.path)).json(body(place));
        let request = request.bearer_auth(&place.key).header("idempotency-key", key);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let is_replay = answer.headers().contains_key("idempotent-replayed");
        let turn = answer.headers().get("rejoinder-turn").map(|turn| turn.to_str().unwrap().to_owned());
        Told { status, body: answer.bytes().await.unwrap(), is_replay, turn }
    });
    join_all(sent).await
}
