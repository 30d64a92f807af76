//! The routes of the AI SDK's `useChat`, with the body that it sends by default.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::Type;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema};

use super::guard::{FromVisitor, Guarded};
use super::identity::IdentityHeader;
use super::link::link;
use super::messages::{MAX_CHARS, ReplyOptions, SendErrors};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _};
use crate::domain::ignored_names::{IgnoredNames, NameSource};
use crate::domain::render::{WidgetReply, widget_error};
use crate::domain::schema::not_blank;
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable, error_sets};
use crate::http::envelope::{ApiError, RouteOptions, Widget};
use crate::http::error::Problem;
use crate::http::extract::{Body, PathParam, idempotency_key, idempotency_request, key_from, query_names};
use crate::http::state::AppState;
use crate::http::ui_message_stream::{self, FRAMES};
use crate::service::send_message::{self, SendMessage};
use crate::service::visitors::Visitor;

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /api/chat";
const UNKNOWN: &str =
    "Conversation not found. Begin one with POST /api/conversations, and send its conversation_id as id.";

/// `POST /api/chat`, whose body has the whole conversation.
#[derive(Debug)]
pub(in crate::http) enum ChatOptions {}

impl RouteOptions for ChatOptions {
    type Envelope = Widget;
    const MAX_BODY: usize = 1024 * 1024;
    const REQUIRES_JSON: bool = false;
    const IGNORES_UNKNOWN_NAMES: bool = true;

    fn error_status(problem: &Problem) -> StatusCode {
        match problem {
            Problem::Domain(Error::Invalid(_)) => StatusCode::BAD_REQUEST,
            Problem::Domain(_) | Problem::Transport(_) => ReplyOptions::error_status(problem),
        }
    }

    fn error_body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(error @ Error::Invalid(_)) => widget_error(&error.to_string()),
            Problem::Domain(Error::NotFound { code: ConversationId::NOT_FOUND, .. }) => widget_error(UNKNOWN),
            Problem::Domain(_) | Problem::Transport(_) => ReplyOptions::error_body(problem),
        }
    }
}

/// The fields of the body that `useChat` sends by default, also those that mean nothing here.
const FIELDS: [&str; 4] = ["id", "messages", "trigger", "messageId"];

/// The body that `useChat` sends by default. Other fields are ignored, with `Rejoinder-Warning`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChatRequest)]
pub(super) struct ChatIn {
    /// The conversation's UUID.
    #[schema(format = Uuid, example = "7c9e6679-7425-40de-944b-e07fc1f90ae7")]
    id: String,
    /// Only the text of the last message of the user is used: the server has the conversation. Its `id` serves as
    /// `Idempotency-Key`, unless that header is sent.
    #[schema(schema_with = messages_schema)]
    messages: Vec<Box<RawValue>>,
    /// Must not be `regenerate-message`.
    #[serde(default)]
    #[schema(example = "submit-message")]
    trigger: Option<String>,
}

/// The schema of the messages, one of which is of the user and has a text. The others may be anything. The last one of the user counts,
/// which a schema cannot say.
fn messages_schema() -> Schema {
    let word = |word: &str| json!({ "type": "string", "enum": [word] });
    let text = not_blank().max_length(Some(MAX_CHARS)).build();
    let part = json!({
        "type": "object", "additionalProperties": true, "required": ["type", "text"], "properties": { "type": word("text"), "text": text },
    });
    let of_user = json!({
        "type": "object", "additionalProperties": true, "required": ["role"], "properties": { "role": word("user") },
        "anyOf": [
            { "required": ["parts"], "properties": { "parts": { "type": "array", "contains": part } } },
            { "required": ["content"], "properties": { "content": text, "parts": { "not": {} } } },
        ],
    });
    let items = ObjectBuilder::new().schema_type(Type::Object);
    let items = items.additional_properties(Some(AdditionalProperties::FreeForm(true)));
    let example = json!([{ "id": "m1", "role": "user", "parts": [{ "type": "text", "text": "Hello" }] }]);
    // One only: their order would differ from process to process.
    let keywords = Extensions::from_iter([("contains", of_user)]);
    let mut messages = ArrayBuilder::new().items(items).extensions(Some(keywords)).build();
    messages.example = Some(example);
    messages.into()
}

/// A message of the user.
#[derive(Debug)]
struct UserMessage {
    id: Option<String>,
    text: String,
}

/// A message as it is sent. Nothing else of it is parsed: as JSON values it would take many times its size.
#[derive(Debug, Deserialize)]
struct MessageIn<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    parts: Option<&'a RawValue>,
    /// Of clients without parts.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct PartIn<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::invalid("body", text)
}

fn unreadable() -> Error {
    invalid("The last message of the user contains an invalid character.")
}

impl ChatIn {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        let expected = "The request body must be a JSON object with an id and messages, as useChat sends it.";
        let chat: Self = serde_json::from_slice(body).map_err(|_| invalid(expected))?;
        if chat.trigger.as_deref() == Some("regenerate-message") {
            return Err(invalid("A reply cannot be made again: send another message."));
        }
        Ok(chat)
    }

    /// The last message of the user.
    fn last_message(&self) -> Result<UserMessage, Error> {
        #[derive(Deserialize)]
        struct Sender {
            role: String,
        }
        let is_of_user = |message: &&RawValue| {
            serde_json::from_str::<Sender>(message.get()).is_ok_and(|sender| sender.role == "user")
        };
        let last = self.messages.iter().rev().map(AsRef::as_ref).find(is_of_user);
        let last = last.ok_or_else(|| invalid("The messages must contain one with the role user."))?;
        let message: MessageIn<'_> = serde_json::from_str(last.get()).map_err(|_| unreadable())?;
        let parts = message.parts.and_then(|parts| serde_json::from_str(parts.get()).ok());
        let text = match parts {
            Some(parts) => text_of(parts)?,
            None => message.content.map(string).transpose()?.flatten().unwrap_or_default(),
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(invalid("The last message of the user must have a text."));
        }
        if text.contains('\0') {
            return Err(unreadable());
        }
        if text.chars().count() > MAX_CHARS {
            let text =
                format!("The last message of the user must not be greater than {MAX_CHARS} characters.");
            return Err(invalid(text));
        }
        let id = message.id.map(string).transpose()?.flatten();
        Ok(UserMessage { id, text: text.to_owned() })
    }
}

/// The text of a message with these parts, of which those of other types are ignored.
fn text_of(parts: Vec<&RawValue>) -> Result<String, Error> {
    let parts = parts.into_iter().filter_map(|part| serde_json::from_str::<PartIn<'_>>(part.get()).ok());
    let texts = parts.filter(|part| part.kind.is_some_and(|kind| kind.get() == "\"text\""));
    let texts: Result<Vec<_>, Error> = texts.filter_map(|part| part.text).map(string).collect();
    Ok(texts?.into_iter().flatten().collect())
}

/// A string; `None` if the value is of another type.
fn string(value: &RawValue) -> Result<Option<String>, Error> {
    if !value.get().starts_with('"') {
        return Ok(None);
    }
    serde_json::from_str(value.get()).map(Some).map_err(|_| unreadable())
}

error_sets! {
    /// The body of `useChat`.
    InvalidChat {
        "The body is not one of `useChat`, or asks to make a reply again" => ChatIn::parse(b"").err().unwrap_or_else(|| invalid("")),
    }
}

type ChatErrors = SendErrors<ChatOptions, (InvalidChat, Body<ChatOptions>)>;

/// Send a message with `useChat`.
///
/// The response is the reply as it is made, in the UI message stream of the AI SDK. If there will be no reply, and for errors, it is
/// JSON.
#[utoipa::path(
    post, path = "/chat", tag = "widget", operation_id = "chat",
    security((), ("bearer" = ["messages:write"])),
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters; by default the id of the last message of the user"), IdentityHeader),
    request_body = ChatIn,
    responses(
        (
            status = 200,
            description = "The reply as it is made, with a comment at least every 10 s; JSON if there will be none",
            headers(
                ("Rejoinder-Turn" = String, description = "The id of the turn that generates the reply"),
                ("Idempotent-Replayed" = String, description = "`true` if a request with the same Idempotency-Key was sent before"),
                ("Rejoinder-Warning" = String, description = "What was sent and has no effect, such as `body.model`: at most 8 names, percent-encoded, then `+` and the number of the others"),
            ),
            content((String = "text/event-stream", example = json!(FRAMES)), (WidgetReply = "application/json")),
        ),
        ChatErrors,
    ),
)]
pub(super) async fn send(
    State(state): State<AppState>,
    FromVisitor(visitor): FromVisitor,
    headers: HeaderMap,
    uri: Uri,
    Body(bytes, _): Body<ChatOptions>,
) -> Result<Response, ApiError<ChatOptions>> {
    let ignored = ignored_names(&bytes, &uri).to_header();
    let sent = reply(&state, visitor, &headers, &bytes, ignored.clone()).await;
    sent.map_err(|error| ApiError::from(error).with_warning(ignored))
}

/// The unknown fields of a body, and the parameters of its query.
fn ignored_names(body: &[u8], uri: &Uri) -> IgnoredNames {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let unknown = fields.keys().filter(|name| !FIELDS.contains(&name.as_str()));
    let mut ignored = IgnoredNames::of(NameSource::Body, unknown);
    ignored.extend(NameSource::Query, query_names(uri));
    ignored
}

async fn reply(
    state: &AppState,
    visitor: Visitor,
    headers: &HeaderMap,
    body: &[u8],
    warning: Option<String>,
) -> Result<Response, Error> {
    let chat = ChatIn::parse(body)?;
    let link = link(&chat.id)?;
    let message = chat.last_message()?;
    // The guard, which has not read the body, does not know the conversation.
    if let Some(limits) = &state.limits {
        limits.count_message(link.0).check()?;
    }
    let key = idempotency_key(headers)?.or_else(|| message.id.as_deref().and_then(key_from));
    let message = SendMessage {
        link,
        visitor,
        idempotency: idempotency_request(key, ROUTE, message.text.as_bytes()),
        text: message.text,
        warning,
    };
    let reply = send_message::stream(&state.services, message).await?;
    Ok(ui_message_stream::respond(reply, Some(link)))
}

type ResumeErrors = Errors<Widget, (Guarded, NotFound<ConversationId>, Overloaded, Unavailable)>;

/// Resume a reply with `useChat`.
///
/// The reply comes again from its start, in the UI message stream of the AI SDK.
#[utoipa::path(
    get, path = "/chat/{id}/stream", tag = "widget", operation_id = "resumeChat",
    params(("id" = Uuid, Path, description = "The conversation's UUID"), IdentityHeader),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "The reply as it is made, with a comment at least every 10 s",
            headers(("Rejoinder-Turn" = String, description = "The id of the turn")),
            example = json!(FRAMES),
        ),
        (status = 204, description = "No reply is being made"),
        ResumeErrors,
    ),
)]
pub(super) async fn resume(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
) -> Result<Response, ApiError<Widget>> {
    let link = link(&name)?;
    let follower = send_message::resume(&state.services, link, &visitor).await?;
    Ok(ui_message_stream::resume(follower, Some(link)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(body: &Value) -> Result<UserMessage, Error> {
        ChatIn::parse(body.to_string().as_bytes())?.last_message()
    }

    #[test]
    fn the_text_of_the_last_message_of_the_user_counts() {
        let parts = json!([
            { "type": "text", "text": " Hello" }, { "type": "file", "url": "data:" }, { "type": "text", "text": " you " },
        ]);
        let messages = json!([
            { "id": "a", "role": "user", "parts": [{ "type": "text", "text": "Before" }] },
            { "id": "b", "role": "user", "parts": parts, "metadata": {} },
            { "id": "c", "role": "assistant", "parts": [] },
        ]);
        let body = json!({ "id": "x", "messages": messages, "trigger": "submit-message", "messageId": null });

        let last = message(&body).unwrap();

        assert_eq!((last.id.as_deref(), last.text.as_str()), (Some("b"), "Hello you"));
        let older = json!({ "id": "x", "messages": [{ "role": "user", "content": "Hi", "parts": null }] });
        assert_eq!(message(&older).unwrap().text, "Hi");
        let odd_parts =
            json!([1, [], { "type": "text", "text": 1 }, { "type": 1 }, { "type": "text", "text": "Hi" }]);
        let odd = json!({ "id": "x", "messages": [{ "id": 1, "role": "user", "parts": odd_parts }] });
        let last = message(&odd).unwrap();
        assert_eq!((last.id, last.text.as_str()), (None, "Hi"));
        let half = r#"{"id":"x","messages":[{"role":"user","parts":[{"type":"text","text":"\ud800"}]}]}"#;
        let error = ChatIn::parse(half.as_bytes()).unwrap().last_message().unwrap_err().to_string();
        assert!(error.starts_with("The last message of the user contains"), "{error}");
    }

    #[test]
    fn fields_of_use_chat_are_known_and_others_are_named() {
        let names = |body: &str, uri: &str| ignored_names(body.as_bytes(), &uri.parse().unwrap()).to_header();
        let default = r#"{"id":"x","messages":[],"trigger":"submit-message","messageId":null}"#;

        assert_eq!(names(default, "/api/chat"), None);
        let more = r#"{"id":"x","model":"gpt","größe":{"a":1}}"#;
        let expected = Some("body.gr%C3%B6%C3%9Fe, body.model, query.model");
        assert_eq!(names(more, "/api/chat?model=a").as_deref(), expected);
        assert_eq!(names("[]", "/api/chat"), None);
    }

    #[test]
    fn other_bodies_are_refused() {
        let user = |text: &str| json!([{ "role": "user", "parts": [{ "type": "text", "text": text }] }]);
        let cases = [
            (json!([]), "The request body must be"),
            (json!({ "messages": [] }), "The request body must be"),
            (json!({ "id": "x", "messages": [] }), "The messages must contain"),
            (json!({ "id": "x", "messages": [1, { "role": 1 }] }), "The messages must contain"),
            (json!({ "id": "x", "messages": user(" ") }), "The last message of the user must have"),
            (json!({ "id": "x", "messages": user("a\0") }), "The last message of the user contains"),
            (
                json!({ "id": "x", "messages": user(&"ü".repeat(2001)) }),
                "The last message of the user must not",
            ),
            (
                json!({ "id": "x", "messages": user("a"), "trigger": "regenerate-message" }),
                "A reply cannot be made again",
            ),
        ];
        for (body, text) in cases {
            let error = message(&body).unwrap_err().to_string();
            assert!(error.starts_with(text), "{body}: {error}");
        }
        assert!(message(&json!({ "id": "x", "messages": user(&"ü".repeat(2000)) })).is_ok());
    }
}
