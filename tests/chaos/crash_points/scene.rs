//! One message on its way, and the kill at a point of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Point;
use crate::client::{Api, Client, Done, Operation, Outcome};
use crate::cluster::Cluster;
use crate::evidence::Reader;
use crate::fakes::{self, Plan};
use crate::fault_proxy::{Side, Tap, Verdict};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::fake_tool::ToolRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

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
pub(super) struct Scene {
    client: Arc<Client>,
    operation: Operation,
    point: Point,
    plan: Plan,
    trigger: Arc<Trigger>,
    /// Between the client and the server, where the answer itself is the moment.
    line: Option<Tap>,
}

impl Scene {
    pub(super) async fn new(
        client: &Arc<Client>,
        number: usize,
        (point, plan): (Point, Plan),
        api: Api,
    ) -> Self {
        let kind = if api == Api::Widget { "widget" } else { "api" };
        let talk = client.talk(api, kind).await;
        let text = format!("talk-{number} {point:?} {}", plan.word());
        let key = Some(format!("key-{number}"));
        let operation = Operation { number, talk, text, key, auto_reply: true };
        let trigger = Arc::new(Trigger {
            is_set: AtomicBool::new(true),
            cluster: Arc::downgrade(&client.cluster),
            killed: Mutex::default(),
        });
        let client = Arc::clone(client);
        let has_line = match (point, api) {
            (Point::Begun, Api::Platform) => client.cluster.tap.is_none(),
            (Point::Replied, Api::Widget) => true,
            _ => false,
        };
        let address = client.cluster.address(0).expect("the first process runs");
        let line = if has_line { Some(Tap::before(&address).await) } else { None };
        Self { client, operation, point, plan, trigger, line }
    }

    /// Gives what the client knew in the end, and how long it was from the kill to the reply.
    pub(super) async fn play(self) -> (Done, Duration) {
        let cluster = &self.client.cluster;
        self.arm();
        match self.point {
            Point::HalfSent => self.send_half().await,
            Point::Asked if self.operation.talk.api == Api::Platform => {
                self.send_and_kill_after_answer().await;
            }
            Point::Replied if self.line.is_none() => self.send_and_leave().await,
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

    /// Tells the fakes and the lines when to kill.
    fn arm(&self) {
        self.arm_model();
        let (point, trigger, never) = (self.point, Arc::clone(&self.trigger), Gate::closed());
        self.client.cluster.fakes.tool.script().otherwise(move |request: &ToolRequest| {
            let usual = fakes::usual_result(request);
            if point == Point::ToolCalled && trigger.pull() { usual.held_by(&never) } else { usual }
        });
        if let Some(line) = &self.line {
            let trigger = Arc::clone(&self.trigger);
            line.watch(move |piece| {
                if piece.from == Side::Server && trigger.pull() { Verdict::Cut } else { Verdict::Pass }
            });
        }
        if let Some(store) = &self.client.cluster.tap {
            self.arm_store(store);
        }
    }

    fn arm_model(&self) {
        let (point, text, trigger) = (self.point, self.operation.text.clone(), Arc::clone(&self.trigger));
        let is_by_model = !self.is_on_the_line(Point::Begun) && !self.is_on_the_line(Point::Answered);
        // Never opened: a dead process gets no answer.
        let never = Gate::closed();
        self.client.cluster.fakes.model.script().otherwise(move |request: &ModelRequest| {
            let usual = fakes::usual_answer(request);
            let is_first = fakes::rounds(request) == 0;
            let is_due = match point {
                Point::Begun | Point::Answered => is_by_model,
                Point::Asked => true,
                Point::ToolKept => !is_first,
                _ => false,
            };
            if !is_due || request.last_text("user").as_ref() != Some(&text) {
                return usual;
            }
            if point == Point::Answered {
                let trigger = Arc::clone(&trigger);
                return usual.then(move || {
                    trigger.pull();
                });
            }
            if trigger.pull() { usual.held_by(&never) } else { usual }
        });
    }

    /// On the line to the store the message is seen with its admission, and again with what is kept of its turn.
    fn arm_store(&self, store: &Tap) {
        let (point, text, trigger) = (self.point, self.operation.text.clone(), Arc::clone(&self.trigger));
        let (mut admitting, mut is_admitted) = (None, false);
        store.watch(move |piece| {
            let has_text = piece.from == Side::Client && piece.contains(&text);
            if has_text {
                admitting.get_or_insert(piece.connection);
            }
            let was_admitted = is_admitted;
            is_admitted |= admitting == Some(piece.connection) && piece.is_committed();
            let is_due = match point {
                Point::Begun => is_admitted,
                Point::Answered => was_admitted && has_text,
                _ => false,
            };
            if is_due && trigger.pull() { Verdict::Cut } else { Verdict::Pass }
        });
    }

    /// Whether this is the scene's point, and a line sees it.
    fn is_on_the_line(&self, point: Point) -> bool {
        self.point == point && (self.line.is_some() || self.client.cluster.tap.is_some())
    }

    fn address(&self) -> String {
        let direct = || self.client.cluster.address(0).expect("the first process runs");
        self.line.as_ref().map_or_else(direct, |line| line.url().to_owned())
    }

    /// The first try: what it hears, if anything, does not matter.
    async fn send(&self) {
        let address = self.address();
        let first = self.client.send(&self.operation, &address).await;
        let must_break = match self.operation.talk.api {
            // The reply may have been faster than the kill.
            Api::Widget => self.point != Point::Answered || self.is_on_the_line(Point::Answered),
            Api::Platform => self.point == Point::Begun,
        };
        assert!(!must_break || first.is_err(), "{:?} was answered by a dead process", self.operation);
    }

    async fn send_half(&self) {
        let address = self.address();
        let mut socket = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let path = match self.operation.talk.api {
            Api::Widget => format!("/api/conversations/{}/messages", self.operation.talk.uuid),
            Api::Platform => "/v1/messages".to_owned(),
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

    /// Whether it was killed at K2 before it could ask the model.
    fn is_begun_in_the_store(&self) -> bool {
        self.point == Point::Begun && self.client.cluster.tap.is_some()
    }

    async fn stored(&self) -> Vec<Value> {
        let reader = Reader::new(&self.client.cluster);
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
        let is_asked_before = !matches!(self.point, Point::HalfSent | Point::Replied);
        let extra = usize::from(is_asked_before && !self.is_begun_in_the_store());
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
            (Point::Answered, Plan::Note) if is_unknown && !self.is_on_the_line(Point::Answered) => {
                tools.min(1)
            }
            _ => self.plan.tools().len(),
        };
        assert_eq!(tools, expected, "{text}: tool calls");
        let must_be_unknown = self.plan == Plan::Note && self.point == Point::ToolCalled;
        assert!(is_unknown || !must_be_unknown, "{reply}");
    }
}
