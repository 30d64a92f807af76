//! Honest tenants: visitors of a widget, half of whom read streams, a back end that sends messages, a reader of the event feed and a webhook receiver. Every
//! request must succeed, and every reply must be right and arrive everywhere.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::client_from;
use super::doubles::reply_to;
use super::record::Record;
use crate::cluster::Cluster;
use crate::transcript::{Ending, Transcript};

const WORKSPACE: &str = include_str!("honest.toml");

/// The names of the tenants, the ids of their assistants, and their addresses.
pub const TENANTS: [(&str, &str, Ipv4Addr); 2] = [
    ("honest-1", "6f1c0a52-3f0c-4c7e-9a5b-1f2d3c4b5a11", Ipv4Addr::new(127, 0, 0, 2)),
    ("honest-2", "6f1c0a52-3f0c-4c7e-9a5b-1f2d3c4b5a12", Ipv4Addr::new(127, 0, 0, 3)),
];

/// Visitors of a tenant, and the time between two messages of one: below `limits.per_conversation`.
const VISITORS: u32 = 8;
const VISITOR_PACE: Duration = Duration::from_secs(4);
/// Writers of a tenant's back end, and the time between two messages of one.
const WRITERS: u32 = 4;
const WRITER_PACE: Duration = Duration::from_millis(400);
/// Messages of one conversation.
const MESSAGES: usize = 20;
/// Longer than a turn of the widget API may take.
const PATIENCE: Duration = Duration::from_secs(70);

/// The replies that have not arrived yet.
#[derive(Default)]
pub struct Expected {
    in_feed: Mutex<HashSet<String>>,
    at_receiver: Mutex<HashSet<String>>,
}

impl Expected {
    fn add(&self, reply: &str) {
        self.in_feed.lock().unwrap().insert(reply.to_owned());
        self.at_receiver.lock().unwrap().insert(reply.to_owned());
    }

    fn forget(&self, reply: &str) {
        self.in_feed.lock().unwrap().remove(reply);
        self.at_receiver.lock().unwrap().remove(reply);
    }

    /// A webhook may arrive twice.
    pub fn arrived_at_the_receiver(&self, event: &Value) {
        if let Some(reply) = reply_of(event) {
            self.at_receiver.lock().unwrap().remove(reply);
        }
    }

    /// False for a reply that nobody expects, or that is in the feed twice.
    fn arrived_in_the_feed(&self, event: &Value) -> bool {
        reply_of(event).is_none_or(|reply| self.in_feed.lock().unwrap().remove(reply))
    }

    pub fn missing(&self) -> usize {
        self.in_feed.lock().unwrap().len() + self.at_receiver.lock().unwrap().len()
    }
}

/// The text of the assistant's message that this event reports.
fn reply_of(event: &Value) -> Option<&str> {
    let message = &event["data"]["message"];
    if message["sender_type"] == "assistant" { message["text"].as_str() } else { None }
}

pub struct Tenant {
    name: &'static str,
    assistant: &'static str,
    key: String,
    base: String,
    http: reqwest::Client,
    expected: Arc<Expected>,
    record: Arc<Record>,
    messages: AtomicU64,
}

/// Creates the workspaces, and starts their clients, which end when `stop` is cancelled; the readers of the feeds go on.
pub async fn start(
    cluster: &Cluster,
    record: &Arc<Record>,
    expected: &[(&'static str, Arc<Expected>); 2],
    stop: &CancellationToken,
) -> (JoinSet<()>, JoinSet<()>) {
    let (mut clients, mut readers) = (JoinSet::new(), JoinSet::new());
    let base = cluster.some_address(0).await;
    for ((name, assistant, address), (_, expected)) in TENANTS.into_iter().zip(expected) {
        let workspace = WORKSPACE.replace("@NAME@", name).replace("@ASSISTANT@", assistant);
        let tenant = Arc::new(Tenant {
            name,
            assistant,
            key: cluster.apply(&workspace, name),
            base: base.clone(),
            http: client_from(address),
            expected: Arc::clone(expected),
            record: Arc::clone(record),
            messages: AtomicU64::new(0),
        });
        for nth in 0..VISITORS {
            clients.spawn(visit(Arc::clone(&tenant), nth, stop.clone()));
        }
        for nth in 0..WRITERS {
            clients.spawn(write(Arc::clone(&tenant), nth, stop.clone()));
        }
        readers.spawn(follow(tenant));
    }
    (clients, readers)
}

/// One of several clients that take turns in sending.
fn pace(period: Duration, nth: u32, clients: u32) -> Interval {
    let first = tokio::time::Instant::now() + period * nth / clients;
    let mut pace = interval_at(first, period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Waits for the time of the next message. False if there is none.
async fn is_next(pace: &mut Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        _ = pace.tick() => true,
    }
}

/// A visitor after the other, each with a conversation of its own.
async fn visit(tenant: Arc<Tenant>, nth: u32, stop: CancellationToken) {
    let mut pace = pace(VISITOR_PACE, nth, VISITORS);
    while is_next(&mut pace, &stop).await {
        let body = json!({ "assistant_id": tenant.assistant });
        let Some(created) = tenant.send(tenant.post("/api/conversations", &body)).await else { continue };
        let path = format!("/api/conversations/{}", created["conversation_id"].as_str().unwrap_or_default());
        for _ in 0..MESSAGES {
            tenant.chat(&path, nth.is_multiple_of(2)).await;
            if !is_next(&mut pace, &stop).await {
                return;
            }
        }
    }
}

/// The back end, which sends messages and does not wait for the replies.
async fn write(tenant: Arc<Tenant>, nth: u32, stop: CancellationToken) {
    let mut pace = pace(WRITER_PACE, nth, WRITERS);
    let mut conversation = Value::Null;
    let mut sent = 0;
    while is_next(&mut pace, &stop).await {
        let (text, reply) = tenant.next_message();
        let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": text });
        if sent % MESSAGES > 0 && conversation.is_string() {
            body["conversation_id"] = conversation.clone();
        }
        sent += 1;
        let request = tenant.post("/v1/messages", &body).bearer_auth(&tenant.key);
        match tenant.send(request).await {
            Some(answer) if answer["data"]["auto_reply_enqueued"] == true => {
                conversation = answer["data"]["conversation_id"].clone();
            }
            Some(answer) => tenant.fail(&reply, &format!("no reply comes: {answer}")),
            None => tenant.expected.forget(&reply),
        }
    }
}

/// Reads the feed by long polls.
async fn follow(tenant: Arc<Tenant>) {
    let (mut after, mut newest) = (String::new(), 0_u64);
    loop {
        let url = format!("{}/v1/events?wait=20&limit=200{after}", tenant.base);
        let page = match answer(tenant.http.get(url).bearer_auth(&tenant.key)).await {
            Ok(page) => page,
            Err(error) => {
                tenant.record.error(format!("{}: the feed: {error}", tenant.name));
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        for event in page["data"]["items"].as_array().into_iter().flatten() {
            let cursor = event["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
            if cursor <= newest || !tenant.expected.arrived_in_the_feed(event) {
                tenant.record.error(format!("{}: twice or unexpected, after {newest}: {event}", tenant.name));
            }
            newest = cursor;
        }
        after = format!("&after={}", page["data"]["next_cursor"].as_str().unwrap_or_default());
    }
}

impl Tenant {
    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).json(body)
    }

    /// The text of a new message, and its reply, which is expected from now on.
    fn next_message(&self) -> (String, String) {
        let text = format!("{}, message {}", self.name, self.messages.fetch_add(1, Ordering::Relaxed));
        let reply = reply_to(&text);
        self.expected.add(&reply);
        (text, reply)
    }

    fn fail(&self, reply: &str, what: &str) {
        self.expected.forget(reply);
        self.record.error(format!("{}: {reply:?}: {what}", self.name));
    }

    /// Sends a visitor's message, and looks at its reply and at the history.
    async fn chat(&self, path: &str, is_streamed: bool) {
        let (text, reply) = self.next_message();
        let request = self.post(&format!("{path}/messages"), &json!({ "message": text }));
        let received = if is_streamed {
            self.stream(request).await
        } else {
            self.send(request).await.map(|answer| answer["message"].as_str().unwrap_or_default().to_owned())
        };
        match received {
            Some(received) if received == reply => {}
            Some(received) => return self.fail(&reply, &format!("another reply: {received:?}")),
            None => return self.expected.forget(&reply),
        }
        let history = self.send(self.http.get(format!("{}{path}", self.base))).await;
        if let Some(history) = history {
            let last = history["history"].as_array().and_then(|entries| entries.last());
            if last.is_none_or(|last| last["content"] != *reply) {
                self.record.error(format!("{}: {reply:?} is not in the history: {last:?}", self.name));
            }
        }
    }

    /// Sends a message, and reads its reply as a stream, which must succeed. Records its time.
    async fn stream(&self, request: RequestBuilder) -> Option<String> {
        let began = Instant::now();
        let request = request.header("accept", "text/event-stream").timeout(PATIENCE);
        let read = async { request.send().await?.error_for_status() };
        let transcript = match read.await {
            Ok(response) => Transcript::read(response, |_| {}).await,
            Err(error) => {
                self.record.error(format!("{}: a stream: {error:?}", self.name));
                return None;
            }
        };
        if transcript.ending != Ending::Finished || !transcript.faults.is_empty() {
            self.record.error(format!("{}: {transcript:?}", self.name));
            return None;
        }
        self.record.request(began);
        Some(transcript.text().to_owned())
    }

    /// Sends a request, which must succeed, and records its time.
    async fn send(&self, request: RequestBuilder) -> Option<Value> {
        let began = Instant::now();
        match answer(request).await {
            Ok(answer) => {
                self.record.request(began);
                Some(answer)
            }
            Err(error) => {
                self.record.error(format!("{}: {error}", self.name));
                None
            }
        }
    }
}

/// The body of a successful response.
async fn answer(request: RequestBuilder) -> Result<Value, String> {
    let exchange = async {
        let response = request.timeout(PATIENCE).send().await?;
        let head = (response.status(), response.url().path().to_owned());
        Ok::<_, reqwest::Error>((head, response.text().await?))
    };
    let ((status, path), body) = exchange.await.map_err(|error| format!("{error:?}"))?;
    if !status.is_success() {
        return Err(format!("{path}: {status}: {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{path}: {error} in {body}"))
}
