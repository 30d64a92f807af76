//! One message, and a kill at one point of its processing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Point;
use crate::client::{Api, Client, CompletedOperation, Operation, Outcome};
use crate::cluster::Cluster;
use crate::evidence::Reader;
use crate::fakes::{self, Plan};
use crate::fault_proxy::{FaultProxy, Side, Verdict};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::fake_tool::ToolRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

/// Kills the first process, once.
struct Trigger {
    is_set: AtomicBool,
    /// Weak, because the fakes that own this belong to the cluster.
    cluster: Weak<Cluster>,
    killed: Mutex<Option<Instant>>,
}

impl Trigger {
    fn fire(&self) -> bool {
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

/// One message, and the point at which the first process is killed.
pub(super) struct Scenario {
    client: Arc<Client>,
    operation: Operation,
    point: Point,
    plan: Plan,
    trigger: Arc<Trigger>,
    /// Between the client and the server, if the response itself triggers the kill.
    line: Option<FaultProxy>,
}

impl Scenario {
    pub(super) async fn new(
        client: &Arc<Client>,
        number: usize,
        (point, plan): (Point, Plan),
        api: Api,
    ) -> Self {
        let conversation = client.create_conversation(api).await;
        let text = format!("conversation-{number} {point:?} {}", plan.word());
        let key = Some(format!("key-{number}"));
        let operation = Operation { number, conversation, text, key, auto_reply: true, is_streamed: false };
        let trigger = Arc::new(Trigger {
            is_set: AtomicBool::new(true),
            cluster: Arc::downgrade(&client.cluster),
            killed: Mutex::default(),
        });
        let client = Arc::clone(client);
        let has_line = match (point, api) {
            (Point::Admitted, Api::Platform) => client.cluster.fault_proxy.is_none(),
            (Point::ReplyStored, Api::Widget) => true,
            _ => false,
        };
        let address = client.cluster.address(0).expect("the first process runs");
        let line = if has_line { Some(FaultProxy::start(&address).await) } else { None };
        Self { client, operation, point, plan, trigger, line }
    }

    /// Returns the client's final outcome and the time from the kill to the reply.
    pub(super) async fn run(self) -> (CompletedOperation, Duration) {
        let cluster = &self.client.cluster;
        self.arm();
        match self.point {
            Point::RequestHalfSent => self.send_half().await,
            Point::ModelCalled if self.operation.conversation.api == Api::Platform => {
                self.send_and_kill_after_answer().await;
            }
            Point::ReplyStored if self.line.is_none() => self.send_and_disconnect().await,
            _ => self.send().await,
        }
        let killed = wait_for("the kill", async || self.trigger.killed()).await;
        if cluster.len() == 1 {
            cluster.start_node(0).await;
        }
        if self.point == Point::RequestHalfSent {
            assert_eq!(self.stored().await.len(), 0, "half a request leaves no trace");
        }
        let done = self.client.perform(self.operation.clone(), 1).await;
        assert!(matches!(done.outcome, Outcome::Ok(_)), "{:?}: {:?}", self.operation, done.outcome);
        let response = done.outcome.response().unwrap();
        assert_eq!(response.is_replay, self.was_stored_before(), "{:?}: {response:?}", self.operation);
        let answered = async || Some(self.stored().await).filter(|messages| messages.len() == 2);
        let messages = wait_for("the reply", answered).await;
        let took = killed.elapsed();
        self.check_calls(&messages[1]);
        if cluster.len() > 1 {
            cluster.start_node(0).await;
        }
        (done, took)
    }

    /// Sets the triggers in the fakes and the proxies.
    fn arm(&self) {
        self.arm_model();
        let (point, trigger, never) = (self.point, Arc::clone(&self.trigger), Gate::closed());
        self.client.cluster.fakes.tool.script().respond_with(move |request: &ToolRequest| {
            let reply = fakes::default_result(request);
            if point == Point::ToolCalled && trigger.fire() { reply.gated_by(&never) } else { reply }
        });
        if let Some(line) = &self.line {
            let trigger = Arc::clone(&self.trigger);
            line.inspect(move |chunk| {
                if chunk.from == Side::Server && trigger.fire() { Verdict::Cut } else { Verdict::Pass }
            });
        }
        if let Some(proxy) = &self.client.cluster.fault_proxy {
            self.arm_database(proxy);
        }
    }

    fn arm_model(&self) {
        let (point, text, trigger) = (self.point, self.operation.text.clone(), Arc::clone(&self.trigger));
        let is_by_model =
            !self.is_observed_by_proxy(Point::Admitted) && !self.is_observed_by_proxy(Point::ModelAnswered);
        // Never opened: a dead process gets no answer.
        let never = Gate::closed();
        self.client.cluster.fakes.model.script().respond_with(move |request: &ModelRequest| {
            let reply = fakes::default_answer(request);
            let is_first = fakes::rounds(request) == 0;
            let is_due = match point {
                Point::Admitted | Point::ModelAnswered => is_by_model,
                Point::ModelCalled => true,
                Point::ToolResultStored => !is_first,
                _ => false,
            };
            if !is_due || request.prompt().as_ref() != Some(&text) {
                return reply;
            }
            if point == Point::ModelAnswered {
                let trigger = Arc::clone(&trigger);
                return reply.then(move || {
                    trigger.fire();
                });
            }
            if trigger.fire() { reply.gated_by(&never) } else { reply }
        });
    }

    /// On the connection to the database the message's text appears with its admission, and again with the turn's journal.
    fn arm_database(&self, proxy: &FaultProxy) {
        let (point, text, trigger) = (self.point, self.operation.text.clone(), Arc::clone(&self.trigger));
        let (mut admitting, mut is_admitted) = (None, false);
        proxy.inspect(move |chunk| {
            let has_text = chunk.from == Side::Client && chunk.contains(&text);
            if has_text {
                admitting.get_or_insert(chunk.connection);
            }
            let was_admitted = is_admitted;
            is_admitted |= admitting == Some(chunk.connection) && chunk.is_committed();
            let is_due = match point {
                Point::Admitted => is_admitted,
                Point::ModelAnswered => was_admitted && has_text,
                _ => false,
            };
            if is_due && trigger.fire() { Verdict::Cut } else { Verdict::Pass }
        });
    }

    /// True if this is the scenario's point and a proxy observes it.
    fn is_observed_by_proxy(&self, point: Point) -> bool {
        self.point == point && (self.line.is_some() || self.client.cluster.fault_proxy.is_some())
    }

    fn address(&self) -> String {
        let direct = || self.client.cluster.address(0).expect("the first process runs");
        self.line.as_ref().map_or_else(direct, |line| line.url().to_owned())
    }

    /// The first attempt; its response does not matter.
    async fn send(&self) {
        let address = self.address();
        let first = self.client.send(&self.operation, &address).await;
        let must_break = match self.operation.conversation.api {
            // The reply may have been faster than the kill.
            Api::Widget => {
                self.point != Point::ModelAnswered || self.is_observed_by_proxy(Point::ModelAnswered)
            }
            Api::Platform => self.point == Point::Admitted,
        };
        assert!(!must_break || first.is_err(), "{:?} was answered by a dead process", self.operation);
    }

    async fn send_half(&self) {
        let address = self.address();
        let mut socket = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let path = match self.operation.conversation.api {
            Api::Widget => format!("/api/conversations/{}/messages", self.operation.conversation.uuid),
            Api::Platform => "/v1/messages".to_owned(),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n\
             content-type: application/json\r\ncontent-length: 500\r\n\r\n{{\"message\": ",
            self.client.cluster.key,
            self.operation.key.as_deref().unwrap_or_default()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        self.trigger.fire();
    }

    /// Kills after the client has its answer, while the turn waits for a model that never answers.
    async fn send_and_kill_after_answer(&self) {
        let asked = self.client.cluster.fakes.model.calls().all().len() + 1;
        let never = Gate::closed();
        let fakes = &self.client.cluster.fakes;
        fakes.model.script().queue([Reply::text("Never sent.").gated_by(&never)]);
        let address = self.address();
        let response = self.client.send(&self.operation, &address).await.unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        fakes.model.calls().wait_for_count(asked).await;
        self.trigger.fire();
    }

    /// The client disconnects as soon as the model is called; the reply is stored all the same.
    async fn send_and_disconnect(&self) {
        let asked = self.client.cluster.fakes.model.calls().all().len() + 1;
        let address = self.address();
        tokio::select! {
            _ = self.client.send(&self.operation, &address) => {}
            _ = self.client.cluster.fakes.model.calls().wait_for_count(asked) => {}
        }
        let answered = async || Some(self.stored().await).filter(|messages| messages.len() == 2);
        wait_for("the reply", answered).await;
        self.trigger.fire();
    }

    /// True if the first attempt stored the message, so that the retry is a replay.
    fn was_stored_before(&self) -> bool {
        self.point != Point::RequestHalfSent
    }

    /// True if the process was killed at [`Point::Admitted`] before it could call the model.
    fn is_killed_before_model_call(&self) -> bool {
        self.point == Point::Admitted && self.client.cluster.fault_proxy.is_some()
    }

    async fn stored(&self) -> Vec<Value> {
        let reader = Reader::new(&self.client.cluster);
        let path = format!("/v1/conversations/{}/messages", self.operation.conversation.id);
        let mut messages = reader.list(&path, "cursor").await;
        // The first message of a widget conversation is not part of the scenario.
        messages.retain(|message| {
            message["sender_type"] == "user" || message.get("reply_to_message_id").is_some()
        });
        messages
    }

    /// Checks how often the model and the tools were called.
    fn check_calls(&self, reply: &Value) {
        let fakes = &self.client.cluster.fakes;
        let text = &self.operation.text;
        let model = fakes.model.calls().all();
        let model = model.iter().filter(|call| call.request.prompt().as_ref() == Some(text)).count();
        let rounds = 1 + usize::from(!self.plan.tools().is_empty());
        let is_asked_before = !matches!(self.point, Point::RequestHalfSent | Point::ReplyStored);
        let extra = usize::from(is_asked_before && !self.is_killed_before_model_call());
        assert!((rounds..=rounds + extra).contains(&model), "{text}: {model} model calls");

        let tools = fakes.tool.calls().all();
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let is_its = |request: &ToolRequest| {
            request.uri.to_string().contains(&encoded)
                || String::from_utf8_lossy(&request.body).contains(text.as_str())
        };
        let tools = tools.iter().filter(|call| is_its(&call.request)).count();
        let response = reply["function_calls"][0]["result"]["error"].as_str().unwrap_or_default();
        let is_unknown = response.contains("unknown");
        let expected = match (self.point, self.plan) {
            (Point::ToolCalled, Plan::Lookup | Plan::Keyed) => 2,
            // The answer may have been journaled with its tool calls before any of them was sent.
            (Point::ModelAnswered, Plan::Note)
                if is_unknown && !self.is_observed_by_proxy(Point::ModelAnswered) =>
            {
                tools.min(1)
            }
            _ => self.plan.tools().len(),
        };
        assert_eq!(tools, expected, "{text}: tool calls");
        let must_be_unknown = self.plan == Plan::Note && self.point == Point::ToolCalled;
        assert!(is_unknown || !must_be_unknown, "{reply}");
    }
}
