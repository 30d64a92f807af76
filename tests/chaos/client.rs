//! A client of both APIs that follows their documentation: it retries with the same idempotency key, at another process.
//! `streaming.rs` is the client that asks for a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::history::History;
use crate::support::http::client;
use crate::support::wait::{wait_at_most, wait_for};
use crate::transcript::StreamedReply;

/// Longer than any turn; only a failing test reaches it.
pub const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Widget,
    Platform,
}

impl Api {
    pub const ALL: [Self; 2] = [Self::Widget, Self::Platform];

    /// The APIs in turn.
    pub fn nth(number: usize) -> Self {
        Self::ALL[number % Self::ALL.len()]
    }

    /// The type of the conversations that are used through this API.
    fn conversation_type(self) -> &'static str {
        match self {
            Self::Widget => "widget",
            Self::Platform => "api",
        }
    }
}

/// A conversation, and the API through which the test uses it.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub api: Api,
    /// The `con_` id.
    pub id: String,
    /// The name in the widget API.
    pub uuid: String,
}

/// One message to send.
#[derive(Clone, Debug)]
pub struct Operation {
    pub number: usize,
    pub conversation: Conversation,
    /// Unique within a test.
    pub text: String,
    pub key: Option<String>,
    pub auto_reply: bool,
    /// The client asks for a stream.
    pub is_streamed: bool,
}

impl Operation {
    fn path(&self) -> String {
        match self.conversation.api {
            Api::Widget => format!("/api/conversations/{}/messages", self.conversation.uuid),
            Api::Platform => "/v1/messages".to_owned(),
        }
    }

    fn body(&self) -> Value {
        match self.conversation.api {
            Api::Widget => json!({ "message": self.text }),
            Api::Platform => json!({
                "conversation_id": self.conversation.id, "sender_id": "u", "sender_type": "user", "text": self.text,
                "auto_reply": self.auto_reply,
            }),
        }
    }
}

/// The response's body and the headers that matter.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub body: Bytes,
    pub error: Option<String>,
    pub is_replay: bool,
    pub turn: Option<String>,
    /// The reply, if it was streamed; there is no body then.
    pub streamed: Option<StreamedReply>,
}

impl Response {
    /// Reads a response that is not a stream.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (error, turn) = (header("rejoinder-error"), header("rejoinder-turn"));
        let is_replay = header("idempotent-replayed").is_some();
        let status = response.status().as_u16();
        Ok(Self { status, error, is_replay, turn, body: response.bytes().await?, streamed: None })
    }

    /// The id of the stored message, if the response has it.
    pub fn message(&self) -> Option<String> {
        let acknowledged = || self.json()["data"]["message"]["id"].as_str().map(str::to_owned);
        self.streamed.as_ref().map_or_else(acknowledged, StreamedReply::user_message)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// True if a retry with a key can find out more.
    pub fn is_unsure(&self) -> bool {
        let is_open = matches!(self.error.as_deref(), Some("outcome_unknown" | "service_unavailable"));
        !self.is_replay && (matches!(self.status, 409 | 429 | 500..) || is_open)
    }
}

/// The final outcome of an operation, as its client knows it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// 200.
    Ok(Response),
    /// The message may be stored, and no reply will come.
    Failed(Response),
    /// Nothing is stored.
    Refused(Response),
    /// No response, or one that says the outcome is unknown.
    Unknown,
}

impl Outcome {
    /// The outcome that a response means.
    pub fn of(operation: &Operation, response: Response) -> Self {
        match response.status {
            200 => Self::Ok(response),
            _ if response.error.as_deref() == Some("outcome_unknown") => Self::Unknown,
            400 if operation.conversation.api == Api::Widget
                && response.error.as_deref().is_some_and(is_failure) =>
            {
                Self::Failed(response)
            }
            _ => Self::Refused(response),
        }
    }

    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Ok(response) | Self::Failed(response) | Self::Refused(response) => Some(response),
            Self::Unknown => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct CompletedOperation {
    pub operation: Operation,
    pub outcome: Outcome,
    pub tries: usize,
}

/// Waits for the outcomes of operations that were started as tasks.
pub async fn join_operations(tasks: Vec<JoinHandle<CompletedOperation>>) -> Vec<CompletedOperation> {
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

pub struct Client {
    pub http: reqwest::Client,
    pub cluster: Arc<Cluster>,
    pub history: Arc<History>,
}

impl Client {
    pub fn new(cluster: &Arc<Cluster>, history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self { http: client(), cluster: Arc::clone(cluster), history: Arc::clone(history) })
    }

    /// Sends the message, first to process `node`, until the outcome is known or, without a key, cannot be known.
    pub async fn perform(&self, operation: Operation, node: usize) -> CompletedOperation {
        if operation.is_streamed {
            return self.perform_streamed(operation, node, |_| {}).await;
        }
        let tries = AtomicUsize::new(0);
        let what = format!("an outcome of {operation:?}");
        let attempt = async || self.attempt(&operation, node + tries.fetch_add(1, Ordering::Relaxed)).await;
        let outcome = wait_at_most(PATIENCE, &what, attempt).await;
        CompletedOperation { operation, outcome, tries: tries.into_inner() }
    }

    /// `None` if the client has to retry.
    async fn attempt(&self, operation: &Operation, node: usize) -> Option<Outcome> {
        let address = self.cluster.some_address(node).await;
        let details = json!({ "key": operation.key, "text": operation.text, "at": address });
        self.record("invoke", operation, &details);
        match self.send(operation, &address).await {
            Ok(response) => {
                let outcome = Outcome::of(operation, response.clone());
                let what = match &outcome {
                    Outcome::Ok(_) => "ok",
                    Outcome::Unknown => "info",
                    Outcome::Failed(_) | Outcome::Refused(_) => "fail",
                };
                self.record(what, operation, &json!({ "status": response.status, "error": response.error }));
                (operation.key.is_none() || !response.is_unsure()).then_some(outcome)
            }
            // Nothing was sent, so nothing was done.
            Err(error) if error.is_connect() => {
                self.record("fail", operation, &json!({ "error": "not connected" }));
                None
            }
            Err(error) => {
                self.record("info", operation, &json!({ "error": error.to_string() }));
                operation.key.is_none().then_some(Outcome::Unknown)
            }
        }
    }

    /// Sends the message once, to this process.
    pub async fn perform_at(&self, operation: Operation, address: &str) -> CompletedOperation {
        let response = self.send(&operation, address).await;
        let outcome = response.map_or(Outcome::Unknown, |response| Outcome::of(&operation, response));
        CompletedOperation { operation, outcome, tries: 1 }
    }

    /// One request without a stream, at one process.
    pub async fn send(&self, operation: &Operation, address: &str) -> reqwest::Result<Response> {
        Response::read(self.post(operation, address, None).await?).await
    }

    /// Sends the message, and returns the response before its body is read.
    pub async fn post(
        &self,
        operation: &Operation,
        address: &str,
        accept: Option<&str>,
    ) -> reqwest::Result<reqwest::Response> {
        let url = format!("{address}{}", operation.path());
        let mut request = self.http.post(url).timeout(PATIENCE).json(&operation.body());
        if operation.conversation.api == Api::Platform {
            request = request.bearer_auth(&self.cluster.key);
        }
        if let Some(key) = &operation.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        request.send().await
    }

    /// Creates a conversation for this API exactly once, even if processes are killed meanwhile.
    pub async fn create_conversation(&self, api: Api) -> Conversation {
        self.create_conversation_of_type(api, api.conversation_type()).await
    }

    /// Creates a widget conversation whose turns are free.
    pub async fn create_test_conversation(&self) -> Conversation {
        self.create_conversation_of_type(Api::Widget, "test").await
    }

    async fn create_conversation_of_type(&self, api: Api, kind: &str) -> Conversation {
        let key = format!("conversation-{:x}", rand::random::<u64>());
        let body = json!({ "assistant_id": "550e8400-e29b-41d4-a716-446655440000", "type": kind });
        let created = wait_for("a conversation", async || {
            let url = format!("{}/v1/conversations", self.cluster.some_address(0).await);
            let request = self.http.post(url).bearer_auth(&self.cluster.key).header("idempotency-key", &key);
            let created: Value = request.json(&body).send().await.ok()?.json().await.ok()?;
            created["data"]["id"].is_string().then_some(created)
        })
        .await;
        let text = |name: &str| created["data"][name].as_str().unwrap_or_default().to_owned();
        Conversation { api, id: text("id"), uuid: text("widget_uuid") }
    }

    pub fn record(&self, what: &str, operation: &Operation, details: &Value) {
        let mut details = details.clone();
        details["operation"] = operation.number.into();
        self.history.record(what, &details);
    }
}

/// True if this is the code of a turn that ended without a reply.
fn is_failure(code: &str) -> bool {
    code.starts_with("model_") || matches!(code, "too_many_tool_calls" | "service_unavailable" | "too_old")
}
