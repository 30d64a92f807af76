//! Processes are killed while a receiver holds a webhook open and others are in flight. Each event is delivered, signed, with
//! the same id and bytes on every attempt, in order within its conversation, never twice at once, and repeated no more
//! often than there were deliveries in flight at the kills.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Setup};
use crate::fakes;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::http::client;
use crate::support::receiver::{header, is_signed};
use crate::support::script::Gate;
use crate::support::wait::wait_for;

const CONVERSATIONS: usize = 12;
/// Between two messages of a conversation. Faster writes would only queue the webhooks.
const PACE: Duration = Duration::from_millis(50);
/// Webhooks between two kills.
const BETWEEN: usize = 60;
/// Deliveries in flight to one endpoint; as many again may be answered and not yet recorded.
const IN_FLIGHT: usize = 16;

/// How long an earlier event of a conversation may hold up a later one; times in the feed are whole seconds.
const ORDERING_WINDOW: SignedDuration = SignedDuration::from_secs(29);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("webhooks_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("webhooks_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    let setup = Setup::new(backend, processes)
        .env("REJOINDER_SECRET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .env("REJOINDER_WEBHOOKS__TIMEOUT", "3s");
    let cluster = Cluster::start(setup).await;
    let secret = create_endpoint(&cluster).await;
    let killer = Arc::new(Killer {
        is_set: AtomicBool::new(false),
        next: AtomicUsize::new(0),
        killed: AtomicUsize::new(0),
    });
    arm(&cluster, &killer);

    let writing = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..CONVERSATIONS)
        .map(|number| tokio::spawn(write(Arc::clone(&cluster), number, Arc::clone(&writing))))
        .collect();
    let kills = size("CHAOS_POINTS", 1) * 4;
    for kill in 0..kills {
        // During new work, not while the previous start recovers.
        cluster.fakes.tool.calls().wait_for_count(cluster.fakes.tool.calls().all().len() + BETWEEN).await;
        killer.is_set.store(true, Ordering::SeqCst);
        let is_dead = async || (killer.killed.load(Ordering::SeqCst) > kill).then_some(());
        wait_for("a kill", is_dead).await;
        cluster.start_node(kill % processes).await;
    }
    writing.store(false, Ordering::SeqCst);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }

    let events = feed(&cluster).await;
    assert!(events.len() >= written, "{written} messages were acknowledged");
    let all = async || {
        let arrived = arrived(&cluster);
        events.keys().all(|id| arrived.contains_key(id)).then_some(())
    };
    wait_for("every event to arrive", all).await;
    check(test, &cluster, &events, &secret, kills);
}

/// Kills a process when the receiver is given the next webhook.
struct Killer {
    is_set: AtomicBool,
    next: AtomicUsize,
    killed: AtomicUsize,
}

fn arm(cluster: &Arc<Cluster>, killer: &Arc<Killer>) {
    // Weak, because the cluster owns the fakes that own this closure.
    let (cluster, killer, never): (Weak<Cluster>, _, _) =
        (Arc::downgrade(cluster), Arc::clone(killer), Gate::closed());
    let Some(fakes) = cluster.upgrade().map(|cluster| Arc::clone(&cluster.fakes)) else { return };
    fakes.tool.script().respond_with(move |request: &ToolRequest| {
        if request.uri.path() != "/hook" {
            return fakes::default_result(request);
        }
        let reply = ToolReply::json(&json!({}));
        match cluster.upgrade().filter(|_| killer.is_set.swap(false, Ordering::SeqCst)) {
            Some(cluster) => {
                cluster.kill(killer.next.fetch_add(1, Ordering::SeqCst) % cluster.len());
                killer.killed.fetch_add(1, Ordering::SeqCst);
                reply.gated_by(&never)
            }
            None => reply,
        }
    });
}

async fn post(cluster: &Cluster, path: &str, key: Option<&str>, body: &Value) -> Option<Value> {
    let address = cluster.some_address(0).await;
    let mut request = client().post(format!("{address}/v1/{path}")).bearer_auth(&cluster.key);
    request = request.header("content-type", "application/json").body(body.to_string());
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request.send().await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    serde_json::from_str(&answer.text().await.ok()?).ok()
}

/// Creates an endpoint, and returns its secret.
async fn create_endpoint(cluster: &Cluster) -> String {
    let hook = json!({ "url": cluster.fakes.tool.url("/hook") });
    let created = post(cluster, "webhook_endpoints", None, &hook).await.expect("an endpoint is made");
    created["data"]["secret"].as_str().unwrap().to_owned()
}

/// Sends messages to one conversation, each until it is acknowledged, and returns their number.
async fn write(cluster: Arc<Cluster>, number: usize, writing: Arc<AtomicBool>) -> usize {
    let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": "", "auto_reply": false });
    let mut pace = tokio::time::interval(PACE);
    let mut written = 0;
    while writing.load(Ordering::SeqCst) {
        pace.tick().await;
        body["text"] = json!(format!("{number} {written}"));
        let key = format!("{number}-{written}");
        let acknowledged = async || post(&cluster, "messages", Some(&key), &body).await;
        let answer = wait_for("an acknowledgement", acknowledged).await;
        body["conversation_id"] = answer["data"]["conversation_id"].clone();
        written += 1;
    }
    written
}

/// All events, by their id.
async fn feed(cluster: &Cluster) -> BTreeMap<String, Value> {
    let mut events = BTreeMap::new();
    let mut after = String::new();
    loop {
        let look = async || {
            let address = cluster.some_address(0).await;
            let answer =
                client().get(format!("{address}/v1/events?limit=200{after}")).bearer_auth(&cluster.key);
            let text = answer.send().await.ok()?.text().await.ok()?;
            serde_json::from_str::<Value>(&text).ok()
        };
        let page = wait_for("a page of the feed", look).await;
        let items = page["data"]["items"].as_array().unwrap().clone();
        let Some(last) = items.last() else { return events };
        after = format!("&after={}", last["cursor"].as_str().unwrap());
        events.extend(items.iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event.clone())));
    }
}

/// The received webhooks by event id, in order.
fn arrived(cluster: &Cluster) -> BTreeMap<String, Vec<ToolRequest>> {
    let mut arrived: BTreeMap<String, Vec<ToolRequest>> = BTreeMap::new();
    for call in cluster.fakes.tool.calls().all() {
        if call.request.uri.path() == "/hook" {
            arrived.entry(header(&call.request, "webhook-id").to_owned()).or_default().push(call.request);
        }
    }
    arrived
}

fn check(test: &str, cluster: &Cluster, events: &BTreeMap<String, Value>, secret: &str, kills: usize) {
    let arrived = arrived(cluster);
    let known: BTreeSet<_> = events.keys().collect();
    assert_eq!(arrived.keys().collect::<BTreeSet<_>>(), known, "every event is delivered, and no other");
    for (id, copies) in &arrived {
        for copy in copies {
            assert_eq!(copy.body, copies[0].body, "{id} has the same bytes each time");
            assert!(is_signed(copy, secret), "{id} is signed");
        }
        assert_eq!(copies[0].json(), events[id], "the delivered event is that of the feed");
    }
    let calls = cluster.fakes.tool.calls();
    let id = |request: &ToolRequest| {
        (request.uri.path() == "/hook").then(|| header(request, "webhook-id").to_owned())
    };
    assert!(calls.overlaps(id).is_empty(), "none is sent twice at once");
    let repeats: usize = arrived.values().map(|copies| copies.len() - 1).sum();
    assert!(repeats >= 1, "deliveries in flight at a kill are repeated");
    assert!(repeats <= kills * 2 * IN_FLIGHT, "{repeats} repeats, {kills} kills");

    let mut last: HashMap<String, (i64, Timestamp)> = HashMap::new();
    let mut delivered = BTreeSet::new();
    for call in calls.all() {
        let Some(id) = id(&call.request).filter(|id| delivered.insert(id.clone())) else { continue };
        let Some(conversation) = conversation(&events[&id]) else { continue };
        let cursor: i64 = events[&id]["cursor"].as_str().unwrap().parse().unwrap();
        let came = Timestamp::now() - SignedDuration::try_from(call.began.elapsed()).unwrap();
        let Some((before, then)) = last.insert(conversation, (cursor, came)) else { continue };
        // An event that cannot be delivered for that long no longer blocks later ones.
        let created: Timestamp = events[&id]["created_at"].as_str().unwrap().parse().unwrap();
        let was_old = then.duration_since(created) >= ORDERING_WINDOW;
        assert!(before < cursor || was_old, "{id} came after a later one of its conversation");
    }
    println!("{test}: {} events, {kills} kills, {repeats} repeats", events.len());
}

fn conversation(event: &Value) -> Option<String> {
    let data = &event["data"];
    let id = data["conversation_id"].as_str().or_else(|| data["conversation"]["id"].as_str());
    id.map(str::to_owned)
}
