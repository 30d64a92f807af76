//! Response bodies that are stored: responses of idempotency keys, and events. The APIs render other responses with
//! the same types.

mod bookings;
mod events;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::conversation::{Conversation, ConversationKind, CreatedConversation, SenderType};
use super::error::Error;
use super::failure::{Discard, Failure};
use super::ids::{AssistantId, ConversationId, MessageId, WidgetUuid};
use super::message::{Feedback, Message};
use super::string_enum::string_enum;
use super::tool_loop::FinishedCall;
use super::turn::TurnEnd;

pub use bookings::{BookingOut, booking_created};
pub use events::{
    EventData, EventOut, event, message_of_event, redacted_event, variant_name, with_epoch, without_calls,
};

/// A rendered response: sent now, and again to requests with its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedResponse {
    pub status: u16,
    pub body: String,
    /// For `Rejoinder-Error`.
    pub code: Option<String>,
    /// For `Rejoinder-Reason`.
    pub reason: Option<String>,
}

/// A message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageOut<'a> {
    pub id: MessageId,
    #[schema(example = "usr_82hd92")]
    pub sender_id: &'a str,
    pub sender_type: SenderType,
    #[schema(example = "Hello from curl!")]
    pub text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
    /// The tool calls that were made for a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<FinishedCall>>)]
    pub function_calls: Option<Box<RawValue>>,
    /// Present and true if the reply ends where the model reached its limit of tokens, or after 256 KiB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub truncated: bool,
    /// Present and true if the reply ends where a client cancelled it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub stopped: bool,
    /// The texts that the model wrote before the reply, beside its tool calls; at most 64 KiB together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub earlier_texts: Option<Box<RawValue>>,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_message_id: Option<MessageId>,
    /// What the visitor thinks of it; absent until the visitor rates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

impl<'a> From<&'a Message> for MessageOut<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            id: message.id,
            sender_id: &message.sender_id,
            sender_type: message.sender_type,
            text: &message.text,
            metadata: message.metadata.as_deref().map(raw),
            function_calls: message.function_calls.as_deref().map(raw),
            truncated: message.is_truncated,
            stopped: message.is_stopped,
            earlier_texts: message.earlier_texts.as_deref().map(raw),
            created_at: message.created_at.to_string(),
            reply_to_message_id: message.reply_to,
            feedback: message.feedback(),
        }
    }
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conversation)]
pub struct ConversationOut<'a> {
    pub id: ConversationId,
    #[serde(rename = "type")]
    pub kind: ConversationKind,
    pub assistant_id: AssistantId,
    pub ai_enabled: bool,
    #[schema(value_type = Object, example = json!({"customer_name": "Ada"}))]
    pub variables: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_identifier: Option<&'a str>,
    /// The identified visitor: the `sub` of their identity token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    pub created_at: String,
    /// The time of its last message or change.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    pub updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

impl<'a> From<&'a Conversation> for ConversationOut<'a> {
    fn from(conversation: &'a Conversation) -> Self {
        Self {
            id: conversation.id,
            kind: conversation.kind,
            assistant_id: conversation.assistant,
            ai_enabled: conversation.ai_enabled,
            variables: raw(&all_variables(conversation)),
            external_identifier: conversation.external_identifier.as_deref(),
            identity: conversation.identity.as_deref(),
            metadata: conversation.metadata.as_deref().map(raw),
            created_at: conversation.created_at.to_string(),
            updated_at: conversation.updated_at.to_string(),
            ended_at: conversation.ended_at.map(|at| at.to_string()),
        }
    }
}

/// The variables of the visitor, overridden by those of a key, and these by the claims of the last identity token, as JSON text.
#[must_use]
pub fn all_variables(conversation: &Conversation) -> String {
    let mut all: serde_json::Map<_, _> =
        serde_json::from_str(&conversation.visitor_variables).unwrap_or_default();
    for trusted in [&conversation.key_variables, &conversation.identity_variables] {
        all.extend(serde_json::from_str::<serde_json::Map<_, _>>(trusted).unwrap_or_default());
    }
    serde_json::Value::Object(all).to_string()
}

/// Stored JSON text, sent as it is; `null` if it is invalid.
#[must_use]
pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `value` as JSON text. Our types have only string keys, so this cannot fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The reply to a visitor's message.
#[derive(Debug, Serialize, ToSchema)]
pub struct WidgetReply<'a> {
    status: bool,
    message: &'a str,
    #[schema(value_type = Vec<FinishedCall>)]
    function_calls: &'a RawValue,
    /// Present and true only while the conversation's AI is off: the message is stored and not answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    ai_disabled: bool,
}

/// The 200 of the widget API: the reply with its calls (a JSON array).
#[must_use]
pub fn widget_reply(text: &str, function_calls: &str) -> RenderedResponse {
    let calls = raw(function_calls);
    let body = WidgetReply { status: true, message: text, function_calls: &calls, ai_disabled: false };
    RenderedResponse { status: 200, body: json(&body), code: None, reason: None }
}

/// The 200 of the widget API for a conversation whose AI is off: stored, not answered.
#[must_use]
pub fn widget_ai_disabled() -> RenderedResponse {
    let calls = raw("[]");
    let body = WidgetReply { status: true, message: "", function_calls: &calls, ai_disabled: true };
    RenderedResponse { status: 200, body: json(&body), code: None, reason: None }
}

#[derive(Serialize)]
struct WidgetError<'a> {
    status: bool,
    error: &'a str,
}

/// An error body of the widget API.
#[must_use]
pub fn widget_error(error: &str) -> String {
    json(&WidgetError { status: false, error })
}

/// The response to a widget client whose turn has ended.
#[must_use]
pub fn widget_turn_end(end: &TurnEnd) -> RenderedResponse {
    match end {
        TurnEnd::Completed(reply) => widget_reply(&reply.text, &reply.function_calls),
        TurnEnd::Failed(failure) => widget_failure(&failure_text(*failure), failure.as_str()),
        TurnEnd::Discarded(Discard::AiDisabled) => widget_ai_disabled(),
        TurnEnd::Discarded(
            discard @ (Discard::ConversationEnded | Discard::Cancelled | Discard::WorkspaceSuspended),
        ) => widget_failure(&discard_text(*discard), discard.as_str()),
        TurnEnd::Discarded(Discard::ConversationDeleted) => RenderedResponse {
            status: 404,
            body: widget_error("Conversation not found"),
            code: Some("conversation_not_found".to_owned()),
            reason: None,
        },
    }
}

/// Why a turn failed, for people.
#[must_use]
pub fn failure_text(failure: Failure) -> String {
    format!("{FAILED}{}", failure.detail())
}

/// Why a reply was discarded, for people.
#[must_use]
pub fn discard_text(discard: Discard) -> String {
    let detail = match discard {
        Discard::AiDisabled => "The conversation's AI was switched off",
        Discard::ConversationEnded => "The conversation has ended",
        Discard::ConversationDeleted => "The conversation was deleted",
        Discard::Cancelled => "The reply was cancelled",
        Discard::WorkspaceSuspended => "The workspace is suspended",
    };
    format!("{FAILED}{detail}")
}

/// The beginning of the text of a failure.
const FAILED: &str = "Failed to process message: ";

fn widget_failure(text: &str, code: &str) -> RenderedResponse {
    RenderedResponse { status: 400, body: widget_error(text), code: Some(code.to_owned()), reason: None }
}

string_enum! {
    /// The status of every successful response of the platform API.
    SuccessStatus {
        Success = "success",
    }
}

/// A successful response of the platform API.
#[derive(Debug, Serialize, ToSchema)]
pub struct Success<T> {
    status: SuccessStatus,
    #[schema(value_type = String, example = "Done.")]
    message: &'static str,
    data: T,
}

impl<T: Serialize> Success<T> {
    #[must_use]
    pub fn new(message: &'static str, data: T) -> Self {
        Self { status: SuccessStatus::Success, message, data }
    }

    /// The response's body.
    #[must_use]
    pub fn to_json(&self) -> String {
        json(self)
    }
}

#[derive(Serialize)]
struct PlatformError<'a> {
    status: &'static str,
    message: &'a str,
    data: (),
}

/// The body of an error of the platform API.
#[must_use]
pub fn platform_error(message: &str) -> String {
    json(&PlatformError { status: "error", message, data: () })
}

string_enum! {
    /// Why no reply was enqueued, for `Rejoinder-Reason`.
    NoReplyReason {
        AutoReplyOff = "auto_reply_off",
        ConversationEnded = "conversation_ended",
        AiDisabled = "ai_disabled",
        InsufficientBalance = "insufficient_balance",
    }
}

/// A message that is stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Acknowledgement)]
pub struct AcknowledgementOut<'a> {
    conversation_id: ConversationId,
    message: MessageOut<'a>,
    /// When false, the `Rejoinder-Reason` header says why.
    auto_reply_enqueued: bool,
}

/// The acknowledgement of a stored message by the platform API.
#[must_use]
pub fn acknowledgement(message: &Message, no_reply: Option<NoReplyReason>) -> RenderedResponse {
    let data = AcknowledgementOut {
        conversation_id: message.conversation,
        message: message.into(),
        auto_reply_enqueued: no_reply.is_none(),
    };
    let body = Success::new("Message sent successfully.", data).to_json();
    RenderedResponse {
        status: 200,
        body,
        code: None,
        reason: no_reply.map(|reason| reason.as_str().to_owned()),
    }
}

/// A new conversation, with what only its creation returns.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedConversation)]
pub struct CreatedConversationOut<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    conversation: ConversationOut<'a>,
    /// The id of the conversation in the widget API. A conversation of the type `api` has none until
    /// `POST /v1/conversations/{id}/widget_link` gives it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, example = "7c9e6679-7425-40de-944b-e07fc1f90ae7")]
    widget_uuid: Option<WidgetUuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_message: Option<MessageOut<'a>>,
}

/// The response of the platform API to a new conversation, with fields that only its creation shows.
#[must_use]
pub fn conversation_created(made: &CreatedConversation) -> RenderedResponse {
    let data = CreatedConversationOut {
        conversation: (&made.conversation).into(),
        widget_uuid: made.link,
        first_message: made.first_message.as_ref().map(MessageOut::from),
    };
    let body = Success::new("Conversation created successfully.", data).to_json();
    RenderedResponse { status: 200, body, code: None, reason: None }
}

/// The text of `error` in the ordinary envelope of the widget API (not the 422 and 429 bodies).
#[must_use]
pub fn widget_error_text(error: &Error) -> String {
    match error {
        Error::NotFound { resource, .. } => format!("{resource} not found"),
        Error::Processing(failure) => failure_text(*failure),
        Error::Unavailable { .. } => format!("{FAILED}{error}"),
        Error::Internal { .. }
        | Error::Invalid(_)
        | Error::Unauthenticated
        | Error::MissingScope(_)
        | Error::OriginRefused
        | Error::TestRefused
        | Error::InvalidIdentity(_)
        | Error::CursorExpired(_)
        | Error::DeliveryUnderWay
        | Error::InsufficientBalance
        | Error::LimitReached { .. }
        | Error::Overloaded { .. }
        | Error::IdempotencyKeyInFlight { .. }
        | Error::IdempotencyKeyReused
        | Error::IdempotencyKeyMalformed
        | Error::Conflict(_)
        | Error::NotConfigured(_) => error.to_string(),
    }
}
