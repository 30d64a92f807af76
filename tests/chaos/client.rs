//! A client of both doors that does what their documents say: it asks again, elsewhere, with the same key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::history::History;
use crate::support::http::client;
use crate::support::wait::{wait_at_most, wait_for};

/// Longer than any turn may take; reached by a failing test only.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Widget,
    Platform,
}

/// A conversation under its name at the door through which it is talked to.
#[derive(Clone, Debug)]
pub struct Talk {
    pub api: Api,
    /// The `con_` id.
    pub id: String,
    /// At the widget door.
    pub uuid: String,
}

/// One message that somebody wants to send.
#[derive(Clone, Debug)]
pub struct Operation {
    pub number: usize,
    pub talk: Talk,
    /// No two have the same.
    pub text: String,
    pub key: Option<String>,
    pub auto_reply: bool,
}

impl Operation {
    fn path(&self) -> String {
        match self.talk.api {
            Api::Widget => format!("/api/conversations/{}/messages", self.talk.uuid),
            Api::Platform => "/v1/messages".to_owned(),
        }
    }

    fn body(&self) -> Value {
        match self.talk.api {
            Api::Widget => json!({ "message": self.text }),
            Api::Platform => json!({
                "conversation_id": self.talk.id, "sender_id": "u", "sender_type": "user", "text": self.text,
                "auto_reply": self.auto_reply,
            }),
        }
    }
}

/// An answer's bytes, and what its headers say.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub body: Bytes,
    pub error: Option<String>,
    pub is_replay: bool,
    pub turn: Option<String>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether to ask again tells more, given a key.
    fn is_unsure(&self) -> bool {
        let is_open = matches!(self.error.as_deref(), Some("outcome_unknown" | "service_unavailable"));
        !self.is_replay && (matches!(self.status, 409 | 429 | 500..) || is_open)
    }
}

/// What somebody knows of an operation in the end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// 200.
    Ok(Told),
    /// The message may be stored, and no reply will come.
    Failed(Told),
    /// Nothing is stored.
    Refused(Told),
    /// No answer came, or one that says that it does not know.
    Unknown,
}

impl Outcome {
    pub fn told(&self) -> Option<&Told> {
        match self {
            Self::Ok(told) | Self::Failed(told) | Self::Refused(told) => Some(told),
            Self::Unknown => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Done {
    pub operation: Operation,
    pub outcome: Outcome,
    pub tries: usize,
}

pub struct Client {
    http: reqwest::Client,
    pub cluster: Arc<Cluster>,
    pub history: Arc<History>,
}

impl Client {
    pub fn new(cluster: &Arc<Cluster>, history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self { http: client(), cluster: Arc::clone(cluster), history: Arc::clone(history) })
    }

    /// Sends it, first to the process `node`, until the outcome is known or, without a key, cannot be.
    pub async fn perform(&self, operation: Operation, node: usize) -> Done {
        let tries = AtomicUsize::new(0);
        let what = format!("an outcome of {operation:?}");
        let attempt = async || self.attempt(&operation, node + tries.fetch_add(1, Ordering::Relaxed)).await;
        let outcome = wait_at_most(PATIENCE, &what, attempt).await;
        Done { operation, outcome, tries: tries.into_inner() }
    }

    /// None where it is to be sent again.
    async fn attempt(&self, operation: &Operation, node: usize) -> Option<Outcome> {
        let address = self.cluster.some_address(node).await;
        let said = json!({ "key": operation.key, "text": operation.text, "at": address });
        self.enter("invoke", operation, &said);
        match self.send(operation, &address).await {
            Ok(told) => {
                let outcome = judge(operation, told.clone());
                let what = match &outcome {
                    Outcome::Ok(_) => "ok",
                    Outcome::Unknown => "info",
                    Outcome::Failed(_) | Outcome::Refused(_) => "fail",
                };
                self.enter(what, operation, &json!({ "status": told.status, "error": told.error }));
                (operation.key.is_none() || !told.is_unsure()).then_some(outcome)
            }
            // Nothing was sent, so nothing was done.
            Err(error) if error.is_connect() => {
                self.enter("fail", operation, &json!({ "error": "not connected" }));
                None
            }
            Err(error) => {
                self.enter("info", operation, &json!({ "error": error.to_string() }));
                operation.key.is_none().then_some(Outcome::Unknown)
            }
        }
    }

    /// Sends it once, to this process.
    pub async fn perform_at(&self, operation: Operation, address: &str) -> Done {
        let told = self.send(&operation, address).await;
        let outcome = told.map_or(Outcome::Unknown, |told| judge(&operation, told));
        Done { operation, outcome, tries: 1 }
    }

    /// One request, at one process.
    pub async fn send(&self, operation: &Operation, address: &str) -> reqwest::Result<Told> {
        let url = format!("{address}{}", operation.path());
        let mut request = self.http.post(url).timeout(PATIENCE).json(&operation.body());
        if operation.talk.api == Api::Platform {
            request = request.bearer_auth(&self.cluster.key);
        }
        if let Some(key) = &operation.key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await?;
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (error, turn) = (header("rejoinder-error"), header("rejoinder-turn"));
        let is_replay = header("idempotent-replayed").is_some();
        Ok(Told { status: response.status().as_u16(), error, is_replay, turn, body: response.bytes().await? })
    }

    /// A new conversation for this door, made once, whoever is killed meanwhile.
    pub async fn talk(&self, api: Api, kind: &str) -> Talk {
        let key = format!("talk-{:x}", rand::random::<u64>());
        let body = json!({ "assistant_id": "550e8400-e29b-41d4-a716-446655440000", "type": kind });
        let made = wait_for("a conversation", async || {
            let url = format!("{}/v1/conversations", self.cluster.some_address(0).await);
            let request = self.http.post(url).bearer_auth(&self.cluster.key).header("idempotency-key", &key);
            let made: Value = request.json(&body).send().await.ok()?.json().await.ok()?;
            made["data"]["id"].is_string().then_some(made)
        })
        .await;
        let text = |name: &str| made["data"][name].as_str().unwrap_or_default().to_owned();
        Talk { api, id: text("id"), uuid: text("widget_uuid") }
    }

    fn enter(&self, what: &str, operation: &Operation, details: &Value) {
        let mut details = details.clone();
        details["operation"] = operation.number.into();
        self.history.enter(what, &details);
    }
}

fn judge(operation: &Operation, told: Told) -> Outcome {
    match told.status {
        200 => Outcome::Ok(told),
        _ if told.error.as_deref() == Some("outcome_unknown") => Outcome::Unknown,
        400 if operation.talk.api == Api::Widget && told.error.as_deref().is_some_and(is_failure) => {
            Outcome::Failed(told)
        }
        _ => Outcome::Refused(told),
    }
}

/// Whether this code is of a turn that gave no reply.
fn is_failure(code: &str) -> bool {
    code.starts_with("model_") || matches!(code, "too_many_tool_calls" | "service_unavailable" | "too_old")
}
