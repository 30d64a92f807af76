//! A client of both doors that does what their documents say: it asks again, elsewhere, with the same key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::history::History;
use crate::support::http::client;

/// Longer than any turn may take; reached by a failing test only.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Widget,
    Platform,
}

/// A conversation under its name at the door through which it is talked to.
#[derive(Clone, Debug)]
pub struct Talk {
    pub door: Door,
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
        match self.talk.door {
            Door::Widget => format!("/api/conversations/{}/messages", self.talk.uuid),
            Door::Platform => "/v1/messages".to_owned(),
        }
    }

    fn body(&self) -> Value {
        match self.talk.door {
            Door::Widget => json!({ "message": self.text }),
            Door::Platform => json!({
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
        let begun = Instant::now();
        for tries in 1.. {
            assert!(begun.elapsed() < PATIENCE, "no outcome of {operation:?}");
            let address = self.cluster.some_address(node + tries - 1).await;
            self.enter(
                "invoke",
                &operation,
                &json!({ "key": operation.key, "text": operation.text, "at": address }),
            );
            let outcome = match self.send(&operation, &address).await {
                Ok(told) => {
                    let outcome = judge(&operation, told.clone());
                    let what = match &outcome {
                        Outcome::Ok(_) => "ok",
                        Outcome::Unknown => "info",
                        Outcome::Failed(_) | Outcome::Refused(_) => "fail",
                    };
                    self.enter(what, &operation, &json!({ "status": told.status, "error": told.error }));
                    if operation.key.is_some() && told.is_unsure() {
                        self.pause().await;
                        continue;
                    }
                    outcome
                }
                // Nothing was sent, so nothing was done.
                Err(error) if error.is_connect() => {
                    self.enter("fail", &operation, &json!({ "error": "not connected" }));
                    self.pause().await;
                    continue;
                }
                Err(error) => {
                    self.enter("info", &operation, &json!({ "error": error.to_string() }));
                    if operation.key.is_some() {
                        continue;
                    }
                    Outcome::Unknown
                }
            };
            return Done { operation, outcome, tries };
        }
        unreachable!("there is always another try")
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
        if operation.talk.door == Door::Platform {
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

    /// A new conversation for this door.
    pub async fn talk(&self, door: Door, kind: &str) -> Talk {
        let address = self.cluster.some_address(0).await;
        let body = json!({ "assistant_id": "550e8400-e29b-41d4-a716-446655440000", "type": kind });
        let request = self.http.post(format!("{address}/v1/conversations")).bearer_auth(&self.cluster.key);
        let made: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        let text = |name: &str| made["data"][name].as_str().unwrap_or_default().to_owned();
        assert!(!text("id").is_empty(), "{made}");
        Talk { door, id: text("id"), uuid: text("widget_uuid") }
    }

    /// Between two tries, so that a server that starts is not drowned in them.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
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
        400 if operation.talk.door == Door::Widget && told.error.as_deref().is_some_and(is_failure) => {
            Outcome::Failed(told)
        }
        _ => Outcome::Refused(told),
    }
}

/// Whether this code is of a turn that gave no reply.
fn is_failure(code: &str) -> bool {
    code.starts_with("model_") || matches!(code, "too_many_tool_calls" | "service_unavailable" | "too_old")
}
