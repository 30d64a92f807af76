//! Replies as the UI message stream of the AI SDK (version 1), which `useChat` reads. Its oldest clients refuse unknown types and
//! fields, so only the metadata has fields of our own.

use std::time::Duration;

use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::event_stream::stream_response;
use super::response::{IDEMPOTENT_REPLAYED, REJOINDER_TURN, REJOINDER_WARNING, set_header};
use crate::domain::ids::{MessageId, TurnId, WidgetUuid};
use crate::domain::tool_loop::CallResult;
use crate::service::follow_turn::{ReplyFollower, ReplyPart};
use crate::service::send_message::StreamedReply;
use crate::service::state::TurnPart;

/// The version of the format.
const PROTOCOL: HeaderName = HeaderName::from_static("x-vercel-ai-ui-message-stream");
/// The interval of pings while there is nothing else to send.
const PING: Duration = Duration::from_secs(10);
/// The beginning of a stream, for the description of the API: each `data` is a [`Chunk`], the last one [`DONE`].
pub(super) const FRAMES: &str = "data: {\"type\":\"start\",\"messageId\":\"msg_01k9z3x8f5e4r9t2m6q7w8y0ab\",…}\n\n\
    data: {\"type\":\"text-delta\",\"id\":\"1\",\"delta\":\"Hello\"}\n\n…data: [DONE]\n\n";
/// The data of the last frame.
const DONE: &str = "[DONE]";

/// A frame of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[schema(as = UiMessageChunk)]
pub(super) enum Chunk<'a> {
    Start {
        #[serde(rename = "messageId")]
        message_id: MessageId,
        #[serde(rename = "messageMetadata")]
        message_metadata: StartMetadata<'a>,
    },
    StartStep,
    TextStart {
        id: String,
    },
    TextDelta {
        id: String,
        delta: String,
    },
    TextEnd {
        id: String,
    },
    ToolInputAvailable {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "toolName")]
        tool_name: String,
        #[schema(value_type = Object)]
        input: CallResult,
        #[serde(rename = "providerExecuted")]
        provider_executed: bool,
        dynamic: bool,
    },
    ToolOutputAvailable {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[schema(value_type = Object)]
        output: CallResult,
        #[serde(rename = "providerExecuted")]
        provider_executed: bool,
        dynamic: bool,
    },
    ToolOutputError {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "errorText")]
        error_text: String,
        #[serde(rename = "providerExecuted")]
        provider_executed: bool,
        dynamic: bool,
    },
    FinishStep,
    Finish {
        #[serde(rename = "messageMetadata")]
        message_metadata: FinishMetadata,
    },
    Error {
        #[serde(rename = "errorText")]
        error_text: String,
    },
    Abort,
}

#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names of the format")]
pub(super) struct StartMetadata<'a> {
    turn_id: TurnId,
    conversation_id: &'a str,
    user_message_id: MessageId,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FinishMetadata {
    turn_id: TurnId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
}

/// The connection is closed without an end, so that no client takes what it has for a whole reply.
#[derive(Debug, thiserror::Error)]
#[error("the reply is made anew")]
struct BrokenOff;

/// The response to a message. `link` is the conversation's UUID if the API names it so.
pub(super) fn respond(reply: StreamedReply, link: Option<WidgetUuid>) -> Response {
    match reply {
        StreamedReply::Answer(answer) => answer.into_response(),
        StreamedReply::Stream(follower) => stream(*follower, link),
    }
}

/// The response to a client that comes back: 204 if nothing is open.
pub(super) fn resume(follower: Option<ReplyFollower>, link: Option<WidgetUuid>) -> Response {
    follower.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |follower| stream(follower, link))
}

fn stream(follower: ReplyFollower, link: Option<WidgetUuid>) -> Response {
    let conversation = link.map_or_else(|| follower.conversation.to_string(), |link| link.to_string());
    let (turn, is_replay, warning) = (follower.turn, follower.is_replay, follower.warning.clone());
    let mut response = stream_response(frames(follower, conversation));
    let headers = response.headers_mut();
    headers.insert(PROTOCOL, HeaderValue::from_static("v1"));
    if let Ok(turn) = HeaderValue::try_from(turn.to_string()) {
        headers.insert(REJOINDER_TURN, turn);
    }
    set_header(headers, REJOINDER_WARNING, warning);
    if is_replay {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Parts,
    Done,
    Ended,
}

struct ReplyStream {
    follower: ReplyFollower,
    conversation: String,
    stage: Stage,
    /// How many texts have begun.
    texts: u32,
    next_ping: Instant,
}

fn frames(
    follower: ReplyFollower,
    conversation: String,
) -> impl Stream<Item = Result<sse::Event, BrokenOff>> + Send {
    let next_ping = Instant::now() + PING;
    let initial = ReplyStream { follower, conversation, stage: Stage::Start, texts: 0, next_ping };
    futures::stream::unfold(initial, async |mut state| {
        let frame = state.next().await?;
        state.next_ping = Instant::now() + PING;
        Some((frame, state))
    })
}

impl ReplyStream {
    /// Waits for the next frame; none at the end of the stream.
    async fn next(&mut self) -> Option<Result<sse::Event, BrokenOff>> {
        match self.stage {
            Stage::Start => {
                self.stage = Stage::Parts;
                Some(Ok(self.start()))
            }
            Stage::Parts => Some(self.next_part().await),
            Stage::Done => {
                self.stage = Stage::Ended;
                Some(Ok(sse::Event::default().data(DONE)))
            }
            Stage::Ended => None,
        }
    }

    fn start(&self) -> sse::Event {
        let ReplyFollower { turn, message, .. } = self.follower;
        frame(&Chunk::Start {
            message_id: MessageId::of_reply(turn),
            message_metadata: StartMetadata {
                turn_id: turn,
                conversation_id: &self.conversation,
                user_message_id: message,
            },
        })
    }

    async fn next_part(&mut self) -> Result<sse::Event, BrokenOff> {
        let Ok(part) = tokio::time::timeout_at(self.next_ping, self.follower.next()).await else {
            return Ok(sse::Event::default().comment("ping"));
        };
        if part == ReplyPart::BrokenOff {
            self.stage = Stage::Ended;
            return Err(BrokenOff);
        }
        if part.is_last() {
            self.stage = Stage::Done;
        }
        Ok(frame(&self.chunk(part)))
    }

    fn chunk(&mut self, part: ReplyPart) -> Chunk<'static> {
        match part {
            ReplyPart::Part(TurnPart::RoundStarted) => Chunk::StartStep,
            ReplyPart::TextStarted => {
                self.texts += 1;
                Chunk::TextStart { id: self.text_id() }
            }
            ReplyPart::Part(TurnPart::Text(delta)) => Chunk::TextDelta { id: self.text_id(), delta },
            ReplyPart::TextEnded => Chunk::TextEnd { id: self.text_id() },
            ReplyPart::Part(TurnPart::CallStarted { id, name, arguments }) => Chunk::ToolInputAvailable {
                tool_call_id: id,
                tool_name: name,
                input: arguments,
                provider_executed: true,
                dynamic: true,
            },
            ReplyPart::Part(TurnPart::CallFinished { id, result }) => output(id, result),
            ReplyPart::RoundEnded => Chunk::FinishStep,
            ReplyPart::Finished { is_truncated } => Chunk::Finish {
                message_metadata: FinishMetadata { turn_id: self.follower.turn, truncated: is_truncated },
            },
            ReplyPart::Failed(error_text) => Chunk::Error { error_text },
            ReplyPart::Stopped | ReplyPart::BrokenOff => Chunk::Abort,
        }
    }

    fn text_id(&self) -> String {
        format!("text_{}", self.texts)
    }
}

/// The end of a call: an error if its result has one.
fn output(tool_call_id: String, result: CallResult) -> Chunk<'static> {
    let (provider_executed, dynamic) = (true, true);
    match result.fields().get("error") {
        Some(error) => {
            let error_text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            Chunk::ToolOutputError { tool_call_id, error_text, provider_executed, dynamic }
        }
        None => Chunk::ToolOutputAvailable { tool_call_id, output: result, provider_executed, dynamic },
    }
}

/// JSON has no line breaks here, and our own types have string keys only, so this cannot fail.
fn frame(chunk: &Chunk<'_>) -> sse::Event {
    sse::Event::default().data(serde_json::to_string(chunk).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn chunks_have_exactly_the_fields_of_the_format() {
        let id = || "a".to_owned();
        let object = CallResult::new(json!({ "n": 1 }));
        let (turn, message) = (TurnId(Uuid::nil()), MessageId(Uuid::nil()));
        let metadata = StartMetadata { turn_id: turn, conversation_id: "c", user_message_id: message };
        let (turn_text, message_text) = (turn.to_string(), message.to_string());
        let cases = [
            (
                Chunk::Start { message_id: message, message_metadata: metadata },
                json!({ "type": "start", "messageId": message_text, "messageMetadata": {
                    "turn_id": turn_text, "conversation_id": "c", "user_message_id": message_text,
                } }),
            ),
            (Chunk::StartStep, json!({ "type": "start-step" })),
            (Chunk::TextStart { id: id() }, json!({ "type": "text-start", "id": "a" })),
            (
                Chunk::TextDelta { id: id(), delta: "\n\u{2028}".to_owned() },
                json!({ "type": "text-delta", "id": "a", "delta": "\n\u{2028}" }),
            ),
            (Chunk::TextEnd { id: id() }, json!({ "type": "text-end", "id": "a" })),
            (
                Chunk::ToolInputAvailable {
                    tool_call_id: id(),
                    tool_name: "t".to_owned(),
                    input: object.clone(),
                    provider_executed: true,
                    dynamic: true,
                },
                json!({ "type": "tool-input-available", "toolCallId": "a", "toolName": "t", "input": { "n": 1 },
                    "providerExecuted": true, "dynamic": true }),
            ),
            (
                output(id(), object),
                json!({ "type": "tool-output-available", "toolCallId": "a", "output": { "n": 1 },
                    "providerExecuted": true, "dynamic": true }),
            ),
            (
                output(id(), CallResult::failed("no")),
                json!({ "type": "tool-output-error", "toolCallId": "a", "errorText": "no",
                    "providerExecuted": true, "dynamic": true }),
            ),
            (Chunk::FinishStep, json!({ "type": "finish-step" })),
            (
                Chunk::Finish { message_metadata: FinishMetadata { turn_id: turn, truncated: false } },
                json!({ "type": "finish", "messageMetadata": { "turn_id": turn_text } }),
            ),
            (Chunk::Error { error_text: "no".to_owned() }, json!({ "type": "error", "errorText": "no" })),
            (Chunk::Abort, json!({ "type": "abort" })),
        ];
        for (chunk, expected) in cases {
            assert_eq!(serde_json::to_value(&chunk).unwrap(), expected);
        }
    }
}
