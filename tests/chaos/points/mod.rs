//! T-2: a process is killed at each point of the way of a message. The fakes do it, at the moment that they see.
//!
//! | point | when |
//! |---|---|
//! | K1 | half of the request has arrived |
//! | K2 | the turn has begun; the client hears nothing |
//! | K3 | the model was asked; at the platform door the client has its answer |
//! | K4 | the model has answered |
//! | K5 | a tool was called |
//! | K6 | a tool's result was kept: the model is asked again |
//! | K7 | the reply is stored, but the client has gone |
//! | K9 | the database is being migrated, see `migration.rs` |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::checker::check;
use crate::client::{Client, Done, Door, Operation, Outcome};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Reader, gather};
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::sizes::size;
use crate::support::db::Backend;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::fake_tool::ToolRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    HalfSent,
    Begun,
    Asked,
    Answered,
    ToolCalled,
    ToolKept,
    Replied,
}

/// Each point with the messages that lead to it.
const ROWS: [(Point, Plan); 10] = [
    (Point::HalfSent, Plan::Plain),
    (Point::Begun, Plan::Plain),
    (Point::Asked, Plan::Plain),
    (Point::Answered, Plan::Plain),
    (Point::Answered, Plan::Note),
    (Point::ToolCalled, Plan::Lookup),
    (Point::ToolCalled, Plan::Keyed),
    (Point::ToolCalled, Plan::Note),
    (Point::ToolKept, Plan::Note),
    (Point::Replied, Plan::Lookup),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("points_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("points_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    // Half of what the other tests have, for here each message waits for a takeover.
    let setup = Setup::new(backend, processes).env("REJOINDER_TURN__LEASE", "1s");
    let cluster = Cluster::start(setup).await;
    let history = Arc::new(History::new(test, 0));
    let client = Client::new(&cluster, &history);
    let mut done = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..size("CHAOS_POINTS", 1) {
        for (nth, (point, plan)) in ROWS.into_iter().enumerate() {
            for door in [Door::Widget, Door::Platform] {
                let number = (round * ROWS.len() + nth) * 2 + usize::from(door == Door::Platform);
                let scene = Scene::new(&client, number, point, plan, door).await;
                let (outcome, took) = scene.play().await;
                slowest = slowest.max(took);
                done.push(outcome);
            }
        }
    }
    let (evidence, _) = gather(&cluster, done).await;
    check(&evidence, &format!("{test}: from the kill to the reply at most {slowest:?}"));
}

/// Kills the first process, once.
struct Trigger {
    is_set: AtomicBool,
    /// Weak, for the fakes that hold this belong to the cluster.
    cluster: Weak<Cluster>,
    killed: Mutex<Option<Instant>>,
}

impl Trigger {
    fn pull(&self) -> bool {
        let is_first = self.is_set.swap(false, Ordering::SeqCst);
        if let Some(cluster) = self.cluster.upgrade().filter(|_| is_first) {
            *self.killed.lock().unwrap() = Some(cluster.kill(0));
        }
        is_first
    }

    fn killed(&self) -> Option<Instant> {
        *self.killed.lock().unwrap()
    }
}

/// One message, and the kill on its way.
struct Scene {
    client: Arc<Client>,
    operation: Operation,
    point: Point,
    plan: Plan,
    trigger: Arc<Trigger>,
}

impl Scene {
    async fn new(client: &Arc<Client>, number: usize, point: Point, plan: Plan, door: Door) -> Self {
        let kind = if door == Door::Widget { "widget" } else { "api" };
        let talk = client.talk(door, kind).await;
        let text = format!("talk-{number} {point:?} {}", plan.word());
        let key = Some(format!("key-{number}"));
        let operation = Operation { number, talk, text, key, auto_reply: true };
        let trigger = Arc::new(Trigger {
            is_set: AtomicBool::new(true),
            cluster: Arc::downgrade(&client.cluster),
            killed: Mutex::default(),
        });
        Self { client: Arc::clone(client), operation, point, plan, trigger }
    }

    /// Gives what the client knew in the end, and how long it was from the kill to the reply.
    async fn play(self) -> (Done, Duration) {
        let cluster = &self.client.cluster;
        self.arm();
        match self.point {
            Point::HalfSent => self.send_half().await,
            Point::Asked if self.operation.talk.door == Door::Platform => {
                self.send_and_kill_after_answer().await;
            }
            Point::Replied => self.send_and_leave().await,
            _ => self.send().await,
        }
        let killed = wait_for("the kill", async || self.trigger.killed()).await;
        if cluster.len() == 1 {
            cluster.start_node(0).await;
        }
        if self.point == Point::HalfSent {
            assert_eq!(self.stored().await.len(), 0, "half a request leaves no trace");
        }
        let done = self.client.perform(self.operation.clone(), 1).await;
        assert!(matches!(done.outcome, Outcome::Ok(_)), "{:?}: {:?}", self.operation, done.outcome);
        let told = done.outcome.told().unwrap();
        assert_eq!(told.is_replay, self.was_stored_before(), "{:?}: {told:?}", self.operation);
        let answered = async || Some(self.stored().await).filter(|messages| messages.len() == 2);
        let messages = wait_for("the reply", answered).await;
        let took = killed.elapsed();
        self.check_calls(&messages[1]);
        if cluster.len() > 1 {
            cluster.start_node(0).await;
        }
        (done, took)
    }

    /// Tells the fakes when to kill.
    fn arm(&self) {
        let fakes = &self.client.cluster.fakes;
        let (point, text, trigger) = (self.point, self.operation.text.clone(), Arc::clone(&self.trigger));
        // Never opened: a dead process gets no answer.
        let never = Gate::closed();
        fakes.model.script().otherwise(move |request: &ModelRequest| {
            let usual = fakes::usual_answer(request);
            let is_due = match point {
                Point::Begun | Point::Asked => true,
                Point::ToolKept => fakes::rounds(request) == 1,
                _ => false,
            };
            let is_this = is_due && request.last_text("user").as_ref() == Some(&text);
            if is_this && trigger.pull() { usual.held_by(&never) } else { usual }
        });
        let (trigger, never) = (Arc::clone(&self.trigger), Gate::closed());
        fakes.tool.script().otherwise(move |request: &ToolRequest| {
            let usual = fakes::usual_result(request);
            if point == Point::ToolCalled && trigger.pull() { usual.held_by(&never) } else { usual }
        });
    }

    fn address(&self) -> String {
        self.client.cluster.address(0).expect("the first process runs")
    }

    /// The first try: what it hears, if anything, does not matter.
    async fn send(&self) {
        let answered = self.client.cluster.fakes.model.calls().all().len();
        let kill = async {
            if self.point == Point::Answered {
                let calls = self.client.cluster.fakes.model.calls();
                while calls.all().get(answered).is_none_or(|call| call.ended.is_none()) {
                    tokio::task::yield_now().await;
                }
                self.trigger.pull();
            }
        };
        let address = self.address();
        let (first, ()) = tokio::join!(self.client.send(&self.operation, &address), kill);
        let must_break = self.operation.talk.door == Door::Widget && self.point != Point::Answered;
        assert!(!must_break || first.is_err(), "{:?} was answered by a dead process", self.operation);
    }

    async fn send_half(&self) {
        let address = self.address();
        let mut socket = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let path = match self.operation.talk.door {
            Door::Widget => format!("/api/conversations/{}/messages", self.operation.talk.uuid),
            Door::Platform => "/v1/messages".to_owned(),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n\
             content-type: application/json\r\ncontent-length: 500\r\n\r\n{{\"message\": ",
            self.client.cluster.key,
            self.operation.key.as_deref().unwrap_or_default()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        self.trigger.pull();
    }

    /// The client has its answer, and the turn waits for a model that is never to answer.
    async fn send_and_kill_after_answer(&self) {
        let asked = self.client.cluster.fakes.model.calls().all().len() + 1;
        let never = Gate::closed();
        let fakes = &self.client.cluster.fakes;
        fakes.model.script().queue([Reply::text("Never sent.").held_by(&never)]);
        let address = self.address();
        let told = self.client.send(&self.operation, &address).await.unwrap();
        assert_eq!(told.status, 200, "{told:?}");
        fakes.model.calls().arrived(asked).await;
        self.trigger.pull();
    }

    /// The client hangs up as soon as the model is asked; the reply is stored all the same.
    async fn send_and_leave(&self) {
        let asked = self.client.cluster.fakes.model.calls().all().len() + 1;
        let address = self.address();
        tokio::select! {
            _ = self.client.send(&self.operation, &address) => {}
            _ = self.client.cluster.fakes.model.calls().arrived(asked) => {}
        }
        let answered = async || Some(self.stored().await).filter(|messages| messages.len() == 2);
        wait_for("the reply", answered).await;
        self.trigger.pull();
    }

    /// Whether the first try had stored the message, so that the next is answered as its repetition.
    fn was_stored_before(&self) -> bool {
        self.point != Point::HalfSent
    }

    async fn stored(&self) -> Vec<Value> {
        let reader = Reader::new(&self.client.cluster).await;
        let path = format!("/v1/conversations/{}/messages", self.operation.talk.id);
        let mut messages = reader.list(&path, "cursor").await;
        // A widget's first message is not part of the story.
        messages.retain(|message| {
            message["sender_type"] == "user" || message.get("reply_to_message_id").is_some()
        });
        messages
    }

    /// How often model and tools were called, as the matrix says.
    fn check_calls(&self, reply: &Value) {
        let fakes = &self.client.cluster.fakes;
        let text = &self.operation.text;
        let model = fakes.model.calls().all();
        let model = model.iter().filter(|call| call.request.last_text("user").as_ref() == Some(text)).count();
        let rounds = 1 + usize::from(!self.plan.tools().is_empty());
        let extra = usize::from(!matches!(self.point, Point::HalfSent | Point::Replied));
        assert!((rounds..=rounds + extra).contains(&model), "{text}: {model} model calls");

        let tools = fakes.tool.calls().all();
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let is_its = |request: &ToolRequest| {
            request.uri.to_string().contains(&encoded)
                || String::from_utf8_lossy(&request.body).contains(text.as_str())
        };
        let tools = tools.iter().filter(|call| is_its(&call.request)).count();
        let told = reply["function_calls"][0]["result"]["error"].as_str().unwrap_or_default();
        let is_unknown = told.contains("unknown");
        let expected = match (self.point, self.plan) {
            (Point::ToolCalled, Plan::Lookup | Plan::Keyed) => 2,
            // The answer may have been kept, with the calls that it asks for, and none of them sent.
            (Point::Answered, Plan::Note) if is_unknown => tools.min(1),
            _ => self.plan.tools().len(),
        };
        assert_eq!(tools, expected, "{text}: tool calls");
        let must_be_unknown = self.plan == Plan::Note && self.point == Point::ToolCalled;
        assert!(is_unknown || !must_be_unknown, "{reply}");
    }
}
