//! The bytes of an answer: one JSON document, or a stream of chunks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::ModelRequest;
use super::reply::Content;
use crate::support::script::Gate;

/// An answer, in the pieces in which it is sent.
pub(super) struct Wire {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) pieces: Vec<Bytes>,
    pub(super) ending: Ending,
    pub(super) pace: Duration,
    /// Opened for the second half of the text.
    pub(super) pause: Option<Gate>,
    /// Called after all pieces were sent.
    pub(super) then: Option<Arc<dyn Fn() + Send + Sync>>,
}

pub(super) enum Ending {
    Whole,
    /// The connection is closed.
    Cut,
}

impl Wire {
    pub(super) fn new(status: StatusCode, headers: HeaderMap, pieces: Vec<Bytes>) -> Self {
        Self { status, headers, pieces, ending: Ending::Whole, pace: Duration::ZERO, pause: None, then: None }
    }

    fn ok(content_type: &'static str, pieces: Vec<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self::new(StatusCode::OK, headers, pieces)
    }

    pub(super) fn cut(self) -> Self {
        Self { ending: Ending::Cut, ..self.unfinished() }
    }

    /// Keeps the first half of the pieces, or of a single piece.
    pub(super) fn unfinished(mut self) -> Self {
        if let [only] = self.pieces.as_mut_slice() {
            only.truncate(only.len() / 2);
        } else {
            self.pieces.truncate(self.pieces.len() / 2);
        }
        self
    }
}

/// A 200 response with one choice or none.
pub(super) fn answer(request: &ModelRequest, index: usize, content: Option<&Content>) -> Wire {
    let head = json!({
        "id": format!("chatcmpl-{index}"),
        "created": 1_767_225_600,
        "model": request.body["model"],
    });
    if request.streams() {
        Wire::ok("text/event-stream", stream(request, &head, index, content))
    } else {
        Wire::ok("application/json", vec![whole(&head, index, content).to_string().into()])
    }
}

fn whole(head: &Value, index: usize, content: Option<&Content>) -> Value {
    let choice = content.map(|content| {
        let mut message = json!({ "role": "assistant", "content": content.text });
        if !content.calls.is_empty() {
            message["tool_calls"] = tool_calls(content, index).into();
        }
        json!({ "index": 0, "message": message, "finish_reason": content.finish_reason })
    });
    let mut body = head.clone();
    body["object"] = json!("chat.completion");
    body["choices"] = choice.into_iter().collect();
    body["usage"] = usage();
    body
}

fn stream(request: &ModelRequest, head: &Value, index: usize, content: Option<&Content>) -> Vec<Bytes> {
    let chunk = |choices: Value| {
        let mut body = head.clone();
        body["object"] = json!("chat.completion.chunk");
        body["choices"] = choices;
        body
    };
    let mut chunks = Vec::new();
    if let Some(content) = content {
        let delta = |delta: Value| chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]));
        chunks.push(delta(json!({ "role": "assistant", "content": null })));
        chunks.extend(
            halves(content.text.as_deref().unwrap_or_default()).map(|half| delta(json!({ "content": half }))),
        );
        for (position, call) in tool_calls(content, index).into_iter().enumerate() {
            chunks
                .extend(tool_call_deltas(position, call).map(|call| delta(json!({ "tool_calls": [call] }))));
        }
        chunks.push(chunk(json!([{ "index": 0, "delta": {}, "finish_reason": content.finish_reason }])));
    } else {
        chunks.push(chunk(json!([])));
    }
    if request.body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = usage();
        chunks.push(last);
    }
    let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n").into());
    events.chain([Bytes::from_static(b"data: [DONE]\n\n")]).collect()
}

fn tool_calls(content: &Content, index: usize) -> Vec<Value> {
    let calls = content.calls.iter().enumerate().map(|(position, call)| {
        let id = call.id.clone().unwrap_or_else(|| format!("call_{index}_{position}"));
        json!({ "id": id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
    });
    calls.collect()
}

/// A call as models stream it: first its id and name, then its arguments in fragments that are not JSON by themselves.
fn tool_call_deltas(position: usize, mut call: Value) -> impl Iterator<Item = Value> {
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default().to_owned();
    call["index"] = json!(position);
    call["function"]["arguments"] = json!("");
    let fragments: Vec<String> = halves(&arguments).map(str::to_owned).collect();
    let fragments = fragments.into_iter();
    [call]
        .into_iter()
        .chain(fragments.map(move |half| json!({ "index": position, "function": { "arguments": half } })))
}

/// The two halves of a text, split between characters, without empty ones.
fn halves(text: &str) -> impl Iterator<Item = &str> {
    let middle = text.floor_char_boundary(text.len() / 2);
    <[&str; 2]>::from(text.split_at(middle)).into_iter().filter(|half| !half.is_empty())
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "total_tokens": 150,
        "prompt_tokens_details": { "cached_tokens": 100 },
        "completion_tokens_details": { "reasoning_tokens": 10 },
    })
}
