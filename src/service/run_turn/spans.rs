//! The spans of a turn, its model calls and its tool calls, with the names and attributes of OpenTelemetry's conventions for
//! generative AI.

use opentelemetry::trace::SpanKind;
use opentelemetry::{Array, StringValue, Value};
use serde_json::json;

use crate::domain::assistant::{AssistantVersion, ModelRef};
use crate::domain::chat::{ChatMessage, ChatRequest, ModelAnswer, ModelError};
use crate::domain::tool_loop::{CallResult, PlannedCall};
use crate::domain::turn::{Api, Turn};
use crate::model::{ConnectedModel, ServerAddress};
use crate::telemetry::traces::{Span, SpanDescription, captures_content, content, describe_current};

/// The largest list of messages in a span, in bytes; the oldest messages are left out.
const MAX_MESSAGES: usize = 32 * 1024;

/// The span of a turn: a child of the widget request that waits for it, or linked to the platform request that enqueued it.
pub(super) fn start_turn(turn: &Turn) -> Span {
    Span::start_turn(turn.id.0, turn.api == Api::Widget, || {
        SpanDescription::new("invoke_agent")
            .with("gen_ai.operation.name", "invoke_agent")
            .with("gen_ai.agent.id", turn.assistant.0.to_string())
            .with("gen_ai.agent.version", turn.assistant_version.to_string())
            .with("gen_ai.conversation.id", turn.conversation.to_string())
            .with("rejoinder.workspace.id", turn.workspace.0.to_string())
            .with("rejoinder.turn.id", turn.id.to_string())
            .with("rejoinder.api", turn.api.as_str())
    })
}

/// Names the current turn's span by its assistant.
pub(super) fn name_turn(version: &AssistantVersion) {
    describe_current(|| {
        SpanDescription::new(format!("invoke_agent {}", version.name))
            .with("gen_ai.agent.name", version.name.clone())
    });
}

/// The span of a model call.
pub(super) fn start_chat(by: &ModelRef, model: &ConnectedModel, request: &ChatRequest) -> Span {
    let span = Span::start(SpanKind::Client, || {
        let server = model.server();
        let provider = server.as_ref().map_or("rejoinder", ServerAddress::provider);
        let description = SpanDescription::new(format!("chat {}", by.model))
            .with("gen_ai.operation.name", "chat")
            .with("gen_ai.provider.name", provider)
            .with("gen_ai.request.model", by.model.clone())
            .with("rejoinder.connection", by.connection.clone());
        match server {
            Some(server) => server.describe(description),
            None => description,
        }
    });
    if span.is_recording() && captures_content() {
        let instructions = request.messages.iter().filter_map(|message| match message {
            ChatMessage::System(text) => Some(json!({ "type": "text", "content": content(text) })),
            ChatMessage::User(_) | ChatMessage::Assistant { .. } | ChatMessage::Tool { .. } => None,
        });
        let instructions: Vec<_> = instructions.collect();
        span.set("gen_ai.system_instructions", json!(instructions).to_string());
        span.set("gen_ai.input.messages", newest(&request.messages));
    }
    span
}

/// Adds the answer, or the error.
pub(super) fn end_chat(span: &Span, answer: &Result<ModelAnswer, ModelError>) {
    if !span.is_recording() {
        return;
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            span.fail(error.kind.failure().as_str());
            if let Some(message) = error.foreign_message().and_then(content) {
                span.set("error.message", message);
            }
            return;
        }
    };
    let reason = if answer.is_truncated {
        "length"
    } else if answer.calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    span.set("gen_ai.response.finish_reasons", Value::Array(Array::String(vec![StringValue::from(reason)])));
    let usage = answer.usage;
    let tokens = [
        ("gen_ai.usage.input_tokens", usage.input),
        ("gen_ai.usage.cache_read.input_tokens", usage.cached),
        ("gen_ai.usage.output_tokens", usage.output),
    ];
    // An endpoint that reports no tokens is not one that used none.
    for (key, count) in tokens.into_iter().filter(|(_, count)| *count > 0) {
        span.set(key, count);
    }
    if captures_content() {
        let message =
            ChatMessage::Assistant { text: answer.text.clone(), calls: answer.calls.clone(), vendor: None };
        let mut output = as_json(&message);
        output["finish_reason"] = reason.into();
        span.set("gen_ai.output.messages", json!([output]).to_string());
    }
}

/// The span of a tool call.
pub(super) fn start_tool(call: &PlannedCall, kind: &'static str) -> Span {
    let span = Span::start(SpanKind::Internal, || {
        SpanDescription::new(format!("execute_tool {}", call.name))
            .with("gen_ai.operation.name", "execute_tool")
            .with("gen_ai.tool.name", call.name.clone())
            .with("gen_ai.tool.call.id", call.id.clone())
            .with("gen_ai.tool.type", "function")
            .with("rejoinder.tool.kind", kind)
    });
    if span.is_recording()
        && let Some(arguments) = content(&json!(call.arguments).to_string())
    {
        span.set("gen_ai.tool.call.arguments", arguments);
    }
    span
}

/// Adds the result of a tool call.
pub(super) fn end_tool(span: &Span, result: &CallResult) {
    if result.fields().contains_key("error") {
        span.fail("tool_error");
    }
    if span.is_recording()
        && let Some(result) = content(&result.to_string())
    {
        span.set("gen_ai.tool.call.result", result);
    }
}

/// The newest messages as JSON, without the system's.
fn newest(messages: &[ChatMessage]) -> String {
    let mut newest = Vec::new();
    let mut size = 0;
    for message in messages.iter().rev().filter(|message| !matches!(message, ChatMessage::System(_))) {
        let message = as_json(message).to_string();
        size += message.len() + 1;
        if size > MAX_MESSAGES {
            break;
        }
        newest.push(message);
    }
    newest.reverse();
    format!("[{}]", newest.join(","))
}

/// A message in the format of `gen_ai.input.messages`.
fn as_json(message: &ChatMessage) -> serde_json::Value {
    let text = |text: &str| json!({ "type": "text", "content": content(text) });
    match message {
        ChatMessage::System(content) => json!({ "role": "system", "parts": [text(content)] }),
        ChatMessage::User(content) => json!({ "role": "user", "parts": [text(content)] }),
        ChatMessage::Assistant { text: answer, calls, .. } => {
            let calls = calls.iter().map(|call| {
                json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": content(&call.arguments) })
            });
            let parts: Vec<_> = answer.iter().map(|answer| text(answer)).chain(calls).collect();
            json!({ "role": "assistant", "parts": parts })
        }
        ChatMessage::Tool { call_id, content: result } => {
            json!({ "role": "tool", "parts": [{ "type": "tool_call_response", "id": call_id, "response": content(result) }] })
        }
    }
}
