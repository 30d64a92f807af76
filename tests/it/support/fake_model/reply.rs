//! The replies and faults of the fake model.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::ModelRequest;
use super::wire::{self, Wire};
use crate::support::script::Gate;

/// A tool call of the model.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
    /// Text, because a model may write anything.
    pub arguments: String,
}

impl ToolCall {
    pub fn new(name: &str, arguments: &Value) -> Self {
        Self::with_text(name, &arguments.to_string())
    }

    /// A call with arguments that need not be JSON.
    pub fn with_text(name: &str, arguments: &str) -> Self {
        Self { id: None, name: name.to_owned(), arguments: arguments.to_owned() }
    }

    /// Sets the id, which is otherwise `call_<request>_<position>`.
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }
}

#[derive(Clone)]
pub struct Reply {
    kind: Kind,
    delay: Duration,
    pace: Duration,
    gate: Option<Gate>,
    then: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Clone)]
enum Kind {
    Answer(Content),
    /// A 200 response without choices.
    Empty,
    /// The connection breaks in the middle of the body.
    Cut(Content),
    /// The body ends early but cleanly: no finish reason, no `[DONE]`, no closing brace.
    Unfinished(Content),
    Raw {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

/// The content of an answer.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) text: Option<String>,
    pub(super) calls: Vec<ToolCall>,
    pub(super) finish_reason: &'static str,
}

impl Reply {
    fn of(kind: Kind) -> Self {
        Self { kind, delay: Duration::ZERO, pace: Duration::ZERO, gate: None, then: None }
    }

    pub fn text(text: &str) -> Self {
        Self::of(Kind::Answer(spoken(text)))
    }

    pub fn tool_calls(calls: impl IntoIterator<Item = ToolCall>) -> Self {
        let calls = calls.into_iter().collect();
        Self::of(Kind::Answer(Content { text: None, calls, finish_reason: "tool_calls" }))
    }

    /// A text beside calls.
    pub fn text_and_tool_calls(text: &str, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        let calls = calls.into_iter().collect();
        Self::of(Kind::Answer(Content { calls, finish_reason: "tool_calls", ..spoken(text) }))
    }

    /// An answer with another finish reason: `length`, `content_filter`.
    pub fn stopped(text: &str, finish_reason: &'static str) -> Self {
        Self::of(Kind::Answer(Content { finish_reason, ..spoken(text) }))
    }

    pub fn no_choices() -> Self {
        Self::of(Kind::Empty)
    }

    pub fn cut(text: &str) -> Self {
        Self::of(Kind::Cut(spoken(text)))
    }

    pub fn unfinished(text: &str) -> Self {
        Self::of(Kind::Unfinished(spoken(text)))
    }

    /// A 200 response with a body that is not JSON.
    pub fn garbage() -> Self {
        Self::raw(StatusCode::OK, "application/json", "}{ not what you asked for")
    }

    /// An error in OpenAI's format.
    pub fn error(status: StatusCode, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "test", "param": null, "code": null } });
        Self::raw(status, "application/json", body.to_string())
    }

    /// A 429 in OpenAI's format; `retry_after` is the header's value: seconds, a date, or invalid.
    pub fn rate_limited(retry_after: Option<&str>) -> Self {
        let reply = Self::error(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached");
        match retry_after {
            Some(value) => reply.with_header(header::RETRY_AFTER, value),
            None => reply,
        }
    }

    /// Any response, for example a proxy's HTML page.
    pub fn raw(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self::of(Kind::Raw { status, headers, body: body.into() })
    }

    /// Adds a header to an error or a raw reply.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Kind::Raw { headers, .. } = &mut self.kind {
            headers.insert(name, value.parse().expect("a header value"));
        }
        self
    }

    /// Delays the response's head.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Delays each piece of the body.
    pub fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Sends the head when the test opens the gate.
    pub fn gated_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Runs `action` after the last piece was sent, before the body ends.
    pub fn then(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.then = Some(Arc::new(act));
        self
    }

    pub(super) async fn wait(&self) {
        if let Some(gate) = &self.gate {
            gate.wait_until_open().await;
        }
        tokio::time::sleep(self.delay).await;
    }

    /// Renders the `index`th answer of the fake, in the requested format.
    pub(super) fn render(self, request: &ModelRequest, index: usize) -> Wire {
        let wire = match self.kind {
            Kind::Answer(content) => wire::answer(request, index, Some(&content)),
            Kind::Empty => wire::answer(request, index, None),
            Kind::Cut(content) => wire::answer(request, index, Some(&content)).cut(),
            Kind::Unfinished(content) => wire::answer(request, index, Some(&content)).unfinished(),
            Kind::Raw { status, headers, body } => Wire::new(status, headers, vec![body]),
        };
        Wire { pace: self.pace, then: self.then, ..wire }
    }
}

fn spoken(text: &str) -> Content {
    Content { text: Some(text.to_owned()), calls: Vec::new(), finish_reason: "stop" }
}
