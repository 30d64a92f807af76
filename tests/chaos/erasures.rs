//! A process is killed in the middle of erasures of people. The next start completes them: nothing of these people is left in the database
//! or in the log, and the ledger stays.
//!
//! On PostgreSQL the fault proxy in front of the database observes each step of an erasure. SQLite has no connection to observe. There, the
//! process is killed when an erasure reports that it has removed something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::client::{Api, Client};
use crate::cluster::{Cluster, DatabaseRoute, Setup};
use crate::evidence::Reader;
use crate::fakes::Plan;
use crate::fault_proxy::{FaultProxy, Side, Verdict};
use crate::history::History;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::wait::{wait_at_most, wait_for};

/// In everything that people say, and in their names.
const MARKER: &str = "qzxmarker";
/// The statements of the steps of an erasure.
const STATEMENTS: [&str; 7] = [
    "update erasures set marked_at",
    "delete from journal",
    "delete from messages",
    "update events set body",
    "update conversations set key_variables",
    "update erasures set emptied_at",
    "update erasures set ended_at",
];
/// The counts of an erasure, in the order in which they grow.
const COUNTS: [&str; 3] = ["messages", "events", "conversations"];
/// As long as an erasure may take, and its claim by a process that was killed.
const UNTIL_DONE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run(Backend::Sqlite, &COUNTS, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    run(Backend::Postgres, &STATEMENTS, 150).await;
}

/// Kills the process at each point during the erasure of a person with this number of messages.
async fn run(backend: Backend, points: &[&'static str], messages: usize) {
    let setup = Setup::new(backend, 1).database_route(DatabaseRoute::FaultProxy);
    let eraser = Eraser::new(&Cluster::start(setup).await);
    let cluster = &eraser.client.cluster;
    let points: Vec<&str> = std::iter::repeat_n(points, size("CHAOS_POINTS", 1)).flatten().copied().collect();
    for person in 0..points.len() {
        eraser.fill(person, messages).await;
    }
    let ledger = eraser.reader.list("/v1/ledger", "cursor").await;
    assert!(has_marker(&cluster.stored_bytes()));

    let mut was_running = false;
    for (person, point) in points.iter().enumerate() {
        match &cluster.fault_proxy {
            Some(proxy) => eraser.kill_at_statement(person, point, proxy).await,
            None => was_running |= eraser.kill_once_counted(person, point).await,
        }
        cluster.start_node(0).await;
    }
    assert!(was_running || backend == Backend::Postgres, "no erasure was interrupted");
    // A kill may have prevented the acceptance of an erasure.
    for person in 0..points.len() {
        eraser.accept(person).await.expect("the erasure is accepted");
    }
    wait_at_most(UNTIL_DONE, "all erasures to be done", async || eraser.are_all_done().await).await;

    assert!(!has_marker(&cluster.stored_bytes()), "the database has what was erased");
    assert!(!has_marker(cluster.log(0).as_bytes()), "the log has what was erased");
    assert_eq!(eraser.reader.list("/v1/ledger", "cursor").await, ledger, "the ledger stays");
}

fn has_marker(bytes: &[u8]) -> bool {
    bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
}

/// The back end that stores messages of people and erases them.
struct Eraser {
    client: Arc<Client>,
    reader: Reader,
    /// With the scope to erase.
    key: String,
}

impl Eraser {
    fn new(cluster: &Arc<Cluster>) -> Self {
        let client = Client::new(cluster, &Arc::new(History::new("erasures", 0)));
        Self { client, reader: Reader::new(cluster), key: cluster.create_erasing_key("chaos") }
    }

    async fn url(&self, path: &str) -> String {
        format!("{}{path}", self.client.cluster.some_address(0).await)
    }

    /// Stores messages of a person, and a reply with the call of a tool.
    async fn fill(&self, person: usize, messages: usize) {
        let conversation = self.client.create_conversation(Api::Platform).await.id;
        let url = self.url("/v1/messages").await;
        let send = async |text: String, auto_reply: bool| {
            let body = json!({
                "conversation_id": conversation, "sender_id": sender(person), "sender_type": "user",
                "text": text, "metadata": { "name": MARKER }, "auto_reply": auto_reply,
            });
            let request = self.client.http.post(&url).bearer_auth(&self.client.cluster.key).json(&body);
            let sent = request.header("idempotency-key", &text).send().await.unwrap();
            assert_eq!(sent.status(), 200, "{text}");
        };
        send(format!("{MARKER} {person} {}", Plan::Note.word()), true).await;
        let path = format!("/v1/conversations/{conversation}/messages");
        let replied = async || (self.reader.list(&path, "cursor").await.len() == 2).then_some(());
        wait_for("the reply", replied).await;
        let numbered = (0..messages).map(|nth| send(format!("{MARKER} {person} {nth}"), false));
        stream::iter(numbered).buffer_unordered(16).collect::<()>().await;
    }

    /// Sends the request to erase a person. Returns the id of the erasure, unless the process was killed.
    async fn accept(&self, person: usize) -> Option<String> {
        let url = format!("{}/v1/erasures", self.client.cluster.address(0)?);
        let request = self.client.http.post(url).bearer_auth(&self.key);
        let accepted = request.json(&json!({ "sender_id": sender(person) })).send().await.ok()?;
        let accepted: Value = accepted.json().await.ok()?;
        accepted["data"]["id"].as_str().map(str::to_owned)
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let read = self.client.http.get(self.url(path).await).bearer_auth(&self.key).send().await.ok()?;
        let read: Value = read.json().await.ok()?;
        Some(read["data"].clone())
    }

    async fn are_all_done(&self) -> Option<()> {
        let listed = self.get("/v1/erasures?limit=200").await?;
        let is_done = |erasure: &Value| erasure["state"] == "done";
        listed["items"].as_array()?.iter().all(is_done).then_some(())
    }

    /// Kills the process when an erasure has sent a statement: for every second person before the statement arrives, for the others after its
    /// commit, before the process receives the response.
    async fn kill_at_statement(&self, person: usize, statement: &'static str, proxy: &FaultProxy) {
        // Weak, because the proxy belongs to the cluster.
        let (cluster, killed) = (Arc::downgrade(&self.client.cluster), Arc::new(AtomicBool::new(false)));
        let (is_after_commit, fired) = (person % 2 == 1, Arc::clone(&killed));
        let mut sent_on = None;
        proxy.inspect(move |chunk| {
            if chunk.from == Side::Client && chunk.contains(statement) {
                sent_on.get_or_insert(chunk.connection);
            }
            let is_due = sent_on == Some(chunk.connection) && (!is_after_commit || chunk.is_committed());
            if is_due && !fired.swap(true, Ordering::SeqCst) {
                kill(&cluster);
                return Verdict::Cut;
            }
            Verdict::Pass
        });
        self.accept(person).await;
        let is_killed = async || killed.load(Ordering::SeqCst).then_some(());
        wait_for(&format!("the kill at \"{statement}\""), is_killed).await;
    }

    /// Kills the process when the erasure of a person reports a count. Returns whether the erasure was still running.
    async fn kill_once_counted(&self, person: usize, count: &str) -> bool {
        let id = self.accept(person).await.expect("the erasure is accepted");
        let path = format!("/v1/erasures/{id}");
        let counted = async || {
            let erasure = self.get(&path).await?;
            (erasure["removed"][count] != 0).then(|| erasure["state"] == "running")
        };
        let is_running = wait_for(count, counted).await;
        self.client.cluster.kill(0);
        is_running
    }
}

fn sender(person: usize) -> String {
    format!("{MARKER}-{person}")
}

fn kill(cluster: &Weak<Cluster>) {
    if let Some(cluster) = cluster.upgrade() {
        cluster.kill(0);
    }
}
