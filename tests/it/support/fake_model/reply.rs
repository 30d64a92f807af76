//! What a test may have the fake model say, and how it may misbehave.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::ModelRequest;
use super::wire::{self, Wire};
use crate::support::script::Gate;

/// A tool that the model asks for.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
    /// As text, for a model may write anything.
    pub arguments: String,
}

impl ToolCall {
    pub fn new(name: &str, arguments: &Value) -> Self {
        Self::with_text(name, &arguments.to_string())
    }

    /// With arguments that need not be JSON.
    pub fn with_text(name: &str, arguments: &str) -> Self {
        Self { id: None, name: name.to_owned(), arguments: arguments.to_owned() }
    }

    /// Under an id of the test's own, else `call_<request>_<position>`.
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
    /// A success with no choice in it.
    Empty,
    /// The connection breaks half-way through.
    Cut(Content),
    /// The body ends properly, but half-way: no finish reason, no `[DONE]`, no closing brace.
    Unfinished(Content),
    Raw {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

/// What an answer is made of.
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

    /// An answer that was stopped by its length or a filter: `length`, `content_filter`.
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

    /// 200 with a body that is no JSON.
    pub fn garbage() -> Self {
        Self::raw(StatusCode::OK, "application/json", "}{ not what you asked for")
    }

    /// An error as OpenAI words it.
    pub fn error(status: StatusCode, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "test", "param": null, "code": null } });
        Self::raw(status, "application/json", body.to_string())
    }

    /// 429 in OpenAI's words; `retry_after` is the header's text: seconds, a date, or nonsense.
    pub fn rate_limited(retry_after: Option<&str>) -> Self {
        let reply = Self::error(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached");
        match retry_after {
            Some(value) => reply.with_header(header::RETRY_AFTER, value),
            None => reply,
        }
    }

    /// Whatever a proxy in between may say, a page of HTML for one.
    pub fn raw(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self::of(Kind::Raw { status, headers, body: body.into() })
    }

    /// Adds a header to an error or a raw reply; the others have none of their own.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Kind::Raw { headers, .. } = &mut self.kind {
            headers.insert(name, value.parse().expect("a header value"));
        }
        self
    }

    /// The head of the answer comes this much later.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// This long before each piece of the body: a slow stream.
    pub fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// The head comes when the test opens the gate; never, where it is never opened.
    pub fn gated_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Done as soon as the last piece has left, before the answer is said to end.
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

    /// As the `index`th answer of the fake, in the form that the request asks for.
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
