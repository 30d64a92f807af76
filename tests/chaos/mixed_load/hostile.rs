//! Hostile clients: a tenant with a key, visitors, and clients without either. Each attack goes on until its task is aborted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client_from;
use super::payloads::{broken_requests, documents};
use super::record::Record;
use crate::cluster::Cluster;
use crate::support::unread::{Protocol, requests};

const WORKSPACE: &str = include_str!("greedy.toml");
const SLOW_ASSISTANT: &str = "6f1c0a52-3f0c-4c7e-9a5b-1f2d3c4b5a01";
const CALLER: &str = "6f1c0a52-3f0c-4c7e-9a5b-1f2d3c4b5a02";
const TALKER: &str = "6f1c0a52-3f0c-4c7e-9a5b-1f2d3c4b5a03";

/// A trusted proxy, behind which hostile clients have many addresses.
pub const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
/// The address of the clients that only connect.
const IDLE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// How long a client waits for an answer, and how long it reads nothing: longer than `http.write_timeout`.
const ATTEMPT: Duration = Duration::from_secs(30);
const UNREAD: Duration = Duration::from_secs(6);
/// The messages of the long history, each of 40 KB.
const MESSAGES: usize = 20;
const GIANT: usize = 8 << 20;
/// Turns that each worker of the slow turns begins with.
const BURST: usize = 40;
const INVALID_KEYS: usize = 4;

/// The names of all attacks, sorted.
pub const ATTACKS: [&str; 18] = [
    "broken requests",
    "clients that leave",
    "documents",
    "flood of messages",
    "giant bodies",
    "huge answers of a model",
    "idle connections",
    "invalid keys",
    "lists",
    "long polls",
    "slow bodies",
    "slow heads",
    "slow turns",
    "tools that hang",
    "unread histories",
    "unread replies",
    "unread streams",
    "unused conversations",
];

pub struct Target {
    record: Arc<Record>,
    address: SocketAddr,
    base: String,
    key: String,
    /// Another key of the same workspace, which meets its own limit.
    flood_key: String,
    http: reqwest::Client,
    proxy: reqwest::Client,
    /// The path of a long history.
    history: String,
    /// The path of the documents of a knowledge base.
    documents: String,
}

/// Starts all attacks. They end when this is dropped.
pub fn start(target: &Arc<Target>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    spawn(&mut tasks, target, 40, slow_heads);
    spawn(&mut tasks, target, 8, slow_bodies);
    spawn(&mut tasks, target, 300, idle_connections);
    spawn(&mut tasks, target, 8, unread_histories);
    spawn(&mut tasks, target, 8, unread_replies);
    spawn(&mut tasks, target, 24, unread_streams);
    spawn(&mut tasks, target, INVALID_KEYS, invalid_keys);
    spawn(&mut tasks, target, 2, visitors);
    spawn(&mut tasks, target, 8, slow_turns);
    spawn(&mut tasks, target, 40, lists);
    spawn(&mut tasks, target, 40, long_polls);
    spawn(&mut tasks, target, 2, upload_documents);
    spawn(&mut tasks, target, 1, giant_bodies);
    spawn(&mut tasks, target, 2, send_broken_requests);
    spawn(&mut tasks, target, 2, tools_that_hang);
    spawn(&mut tasks, target, 2, huge_answers);
    spawn(&mut tasks, target, 4, flood);
    spawn(&mut tasks, target, 2, clients_that_leave);
    tasks
}

fn spawn<F>(
    tasks: &mut JoinSet<()>,
    target: &Arc<Target>,
    workers: usize,
    attack: impl Fn(Arc<Target>, usize) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    for worker in 0..workers {
        tasks.spawn(attack(Arc::clone(target), worker));
    }
}

async fn pause(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

impl Target {
    /// Creates the greedy workspace with a long history and a knowledge base.
    pub async fn prepare(cluster: &Cluster, record: &Arc<Record>) -> Arc<Self> {
        let base = cluster.some_address(0).await;
        let mut target = Self {
            record: Arc::clone(record),
            address: base.trim_start_matches("http://").parse().unwrap(),
            base,
            key: cluster.apply(WORKSPACE, "greedy"),
            flood_key: cluster.create_key("greedy"),
            http: client_from(GREEDY),
            proxy: client_from(PROXY),
            history: String::new(),
            documents: String::new(),
        };
        let mut body = message(&"🦀".repeat(10_000));
        body["auto_reply"] = false.into();
        for _ in 0..MESSAGES {
            let sent = target.create("/v1/messages", &body).await;
            body["conversation_id"] = sent["conversation_id"].clone();
        }
        let conversation = body["conversation_id"].as_str().unwrap();
        target.history = format!("/v1/conversations/{conversation}/messages?limit=200");
        let knowledge = target.create("/v1/knowledge_bases", &json!({ "slug": "greedy" })).await;
        target.documents = format!("/v1/knowledge_bases/{}/documents", knowledge["id"].as_str().unwrap());
        Arc::new(target)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(&self.key)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).bearer_auth(&self.key).json(body)
    }

    /// A request that must succeed, before the load.
    async fn create(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json::<Value>().await.unwrap()["data"].take()
    }

    /// A new conversation with an assistant, by its id in the platform API.
    async fn conversation(&self, assistant: &str) -> Value {
        let body = json!({ "assistant_id": assistant });
        loop {
            let response = self.post("/v1/conversations", &body).send().await;
            // Its own floods may refuse it.
            if let Ok(response) = response
                && let Ok(created) = response.json::<Value>().await
                && created["data"]["id"].is_string()
            {
                return created["data"]["id"].clone();
            }
            pause(500).await;
        }
    }

    /// Sends a request, reads the response, and counts its status.
    async fn attempt(&self, attack: &'static str, request: RequestBuilder) {
        let exchange = async {
            let response = request.timeout(ATTEMPT).send().await?;
            let status = response.status();
            response.bytes().await?;
            Ok::<_, reqwest::Error>(status)
        };
        match exchange.await {
            Ok(status) => self.record.attack(attack, status.as_str()),
            Err(error) if error.is_timeout() => self.record.attack(attack, "timed out"),
            Err(_) => self.record.attack(attack, "disconnected"),
        }
    }

    /// A connection whose client buffers as little as the system lets it.
    async fn connect(&self, from: Ipv4Addr) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_recv_buffer_size(4096).ok()?;
        socket.bind((from, 0).into()).ok()?;
        socket.connect(self.address).await.ok()
    }

    /// Sends these bytes, and counts the status that comes back.
    async fn attempt_raw(&self, attack: &'static str, bytes: &[u8]) {
        let exchange = async {
            let mut stream = self.connect(GREEDY).await?;
            // The server may answer, and close, before it has read everything.
            let _ = stream.write_all(bytes).await;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.ok()?;
            Some(String::from_utf8_lossy(&head[9..]).into_owned())
        };
        match timeout(ATTEMPT, exchange).await {
            Ok(Some(status)) => self.record.attack(attack, &status),
            Ok(None) => self.record.attack(attack, "disconnected"),
            Err(_) => self.record.attack(attack, "timed out"),
        }
    }

    /// Sends `head`, then `part` every second until the server closes the connection.
    async fn send_slowly(&self, attack: &'static str, head: &str, part: &[u8]) {
        if let Some(mut stream) = self.connect(GREEDY).await {
            // An upload is cut off only after half a minute.
            self.record.attack(attack, "begun");
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                pause(1000).await;
                sent = stream.write_all(part).await;
            }
        }
        self.record.attack(attack, "cut off");
        pause(100).await;
    }

    /// The beginning of a request with the key.
    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", self.key)
    }
}

fn message(text: &str) -> Value {
    json!({ "sender_id": "u", "sender_type": "user", "text": text })
}

async fn slow_heads(target: Arc<Target>, _worker: usize) {
    loop {
        target.send_slowly("slow heads", &target.head("GET /v1/balance"), b"x-slow: y\r\n").await;
    }
}

async fn slow_bodies(target: Arc<Target>, worker: usize) {
    let line = format!("PUT {}/slow-{worker}", target.documents);
    let head = format!("{}content-type: text/plain\r\ncontent-length: 10485760\r\n\r\n", target.head(&line));
    loop {
        target.send_slowly("slow bodies", &head, &[b'x'; 1024]).await;
    }
}

async fn idle_connections(target: Arc<Target>, worker: usize) {
    // Not all in the same moment.
    pause(u64::try_from(worker).unwrap() * 5).await;
    loop {
        if let Some(mut stream) = target.connect(IDLE).await {
            let _ = stream.read(&mut [0]).await;
        }
        target.record.attack("idle connections", "cut off");
        pause(500).await;
    }
}

async fn unread_histories(target: Arc<Target>, worker: usize) {
    let protocols = [
        Protocol::Http1,
        Protocol::Http2 { window: 0 },
        Protocol::Http2 { window: 1 },
        Protocol::Http2 { window: 0x7fff_ffff },
    ];
    let bytes = requests(protocols[worker % protocols.len()], &target.history, &target.key, 20);
    loop {
        leave_unread(&target, "unread histories", &bytes).await;
    }
}

/// Streams of long replies.
async fn unread_replies(target: Arc<Target>, _worker: usize) {
    let mut body = message("text");
    body["conversation_id"] = target.conversation(TALKER).await;
    let (head, body) = (target.head("POST /v1/messages"), body.to_string());
    let length = body.len();
    let bytes = format!(
        "{head}accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    loop {
        leave_unread(&target, "unread replies", bytes.as_bytes()).await;
    }
}

async fn unread_streams(target: Arc<Target>, _worker: usize) {
    let bytes = requests(Protocol::Http1, "/v1/events/stream", &target.key, 1);
    loop {
        leave_unread(&target, "unread streams", &bytes).await;
    }
}

async fn leave_unread(target: &Target, attack: &'static str, bytes: &[u8]) {
    if let Some(mut stream) = target.connect(GREEDY).await {
        let _ = stream.write_all(bytes).await;
        pause(u64::try_from(UNREAD.as_millis()).unwrap()).await;
    }
    target.record.attack(attack, "not read");
    pause(100).await;
}

async fn invalid_keys(target: Arc<Target>, worker: usize) {
    for number in (worker..).step_by(INVALID_KEYS) {
        let from = if number % 3 == 0 {
            format!("2001:db8:0:{:x}::1", number % 4096)
        } else {
            format!("198.51.100.{}", number % 20)
        };
        let request = target.proxy.get(target.url("/v1/balance")).header("x-forwarded-for", from);
        target.attempt("invalid keys", request.bearer_auth(format!("sk_{number:043}"))).await;
        pause(20).await;
    }
}

/// Conversations in which nobody ever writes, in turn with test conversations, which would be free.
async fn visitors(target: Arc<Target>, worker: usize) {
    for number in worker.. {
        let from = format!("203.0.113.{}", number % 200);
        let kind = if number % 2 == 0 { "test" } else { "widget" };
        let body = json!({ "assistant_id": SLOW_ASSISTANT, "type": kind });
        let request = target.proxy.post(target.url("/api/conversations")).json(&body);
        target.attempt("unused conversations", request.header("x-forwarded-for", from)).await;
        pause(50).await;
    }
}

/// Hundreds of turns whose model is slow.
async fn slow_turns(target: Arc<Target>, _worker: usize) {
    let body = message("Take your time");
    let send = || target.attempt("slow turns", target.post("/v1/messages", &body));
    join_all((0..BURST).map(|_| send())).await;
    loop {
        send().await;
        pause(500).await;
    }
}

async fn lists(target: Arc<Target>, worker: usize) {
    let paths =
        [&*target.history, "/v1/events?limit=200", "/v1/conversations?limit=200", "/v1/ledger?limit=200"];
    for path in paths.iter().cycle().skip(worker) {
        target.attempt("lists", target.get(path)).await;
        pause(2500).await;
    }
}

async fn long_polls(target: Arc<Target>, _worker: usize) {
    loop {
        // No such event comes, so that they wait.
        target.attempt("long polls", target.get("/v1/events?wait=10&after=latest&types=balance.low")).await;
        pause(100).await;
    }
}

async fn upload_documents(target: Arc<Target>, worker: usize) {
    for (name, kind, body) in documents().iter().cycle().skip(worker) {
        let path = format!("{}/{name}-{worker}", target.documents);
        let request = target.http.put(target.url(&path)).bearer_auth(&target.key);
        let request = request.header("content-type", *kind).body(body.clone());
        target.attempt("documents", request).await;
        pause(5000).await;
    }
}

async fn giant_bodies(target: Arc<Target>, _worker: usize) {
    let body = bytes::Bytes::from(vec![b' '; GIANT]);
    loop {
        for path in ["/v1/messages", "/api/conversations"] {
            let request = target.http.post(target.url(path)).bearer_auth(&target.key);
            let request = request.header("content-type", "application/json").body(body.clone());
            target.attempt("giant bodies", request).await;
            pause(500).await;
        }
    }
}

async fn send_broken_requests(target: Arc<Target>, worker: usize) {
    let all = broken_requests(&target.key);
    for bytes in all.iter().cycle().skip(worker) {
        target.attempt_raw("broken requests", bytes).await;
        pause(100).await;
    }
}

/// Turns whose tools hang or answer with megabytes.
async fn tools_that_hang(target: Arc<Target>, _worker: usize) {
    let mut body = message("Call them");
    body["conversation_id"] = target.conversation(CALLER).await;
    loop {
        target.attempt("tools that hang", target.post("/v1/messages", &body)).await;
        pause(2000).await;
    }
}

/// Turns whose model writes a megabyte, or calls with megabytes of arguments.
async fn huge_answers(target: Arc<Target>, worker: usize) {
    let mut body = message(if worker.is_multiple_of(2) { "calls" } else { "text" });
    body["conversation_id"] = target.conversation(TALKER).await;
    loop {
        target.attempt("huge answers of a model", target.post("/v1/messages", &body)).await;
        pause(2000).await;
    }
}

/// A loop that runs away.
async fn flood(target: Arc<Target>, _worker: usize) {
    let mut body = message("Again");
    body["auto_reply"] = false.into();
    body["conversation_id"] = target.conversation(SLOW_ASSISTANT).await;
    loop {
        let request = target.http.post(target.url("/v1/messages")).bearer_auth(&target.flood_key);
        target.attempt("flood of messages", request.json(&body)).await;
        pause(25).await;
    }
}

/// Clients that disconnect when they have sent their request, or half of it.
async fn clients_that_leave(target: Arc<Target>, _worker: usize) {
    let body = message("Gone").to_string();
    let head = target.head("POST /v1/messages");
    let length = body.len();
    let post = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    let get = format!("{}\r\n", target.head(&format!("GET {}", target.history)));
    for request in [&post[..], &get[..], &post[..post.len() - 9]].iter().cycle() {
        if let Some(mut stream) = target.connect(GREEDY).await {
            let _ = stream.write_all(request.as_bytes()).await;
        }
        target.record.attack("clients that leave", "left");
        pause(200).await;
    }
}
