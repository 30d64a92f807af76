//! What travels through the widget door.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::domain::conversation::SenderType;
use crate::domain::ids::{MessageId, WidgetUuid};
use crate::domain::message::Message;
use crate::domain::render::raw;
use crate::http::fields::Field;

/// A visitor's message.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WidgetMessage)]
pub(in crate::http) struct MessageIn {
    /// The visitor's message; white space around it is dropped.
    #[schema(value_type = String, required, max_length = 2000, example = "I would like to schedule a demo for next week")]
    pub(super) message: Field,
}

/// A conversation that a visitor begins.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WidgetConversation)]
pub(in crate::http) struct ConversationIn {
    #[schema(value_type = Uuid, required, example = "550e8400-e29b-41d4-a716-446655440000")]
    pub(super) assistant_id: Field,
    /// `widget` (default) or `test`, which is free.
    #[serde(rename = "type")]
    #[schema(value_type = String, required = false, example = "widget")]
    pub(super) kind: Field,
    /// Fill `{{name}}` in the assistant's prompt and first message.
    #[schema(value_type = Object, required = false, example = json!({"customer_name": "Ada"}))]
    pub(super) variables: Field,
}

/// Which part of a history is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct HistoryQuery {
    /// How many messages, the newest; 1 to 200.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// A message's id: only what is newer.
    pub(super) after: Option<String>,
}

/// The reply to a visitor's message.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `domain::render` renders; a test compares the two")]
pub(in crate::http) struct WidgetReply {
    status: bool,
    message: String,
    function_calls: Vec<FunctionCall>,
    /// There, and true, only while the conversation's AI is off: the message is stored, not answered.
    ai_disabled: Option<bool>,
}

/// A call that was made for a reply.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `domain::render` renders; a test compares the two")]
pub(in crate::http) struct FunctionCall {
    #[schema(example = "check_calendar_availability")]
    name: String,
    #[schema(value_type = Object)]
    arguments: (),
    #[schema(value_type = Object)]
    result: (),
}

/// A conversation that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ConversationOut {
    pub(super) status: bool,
    #[schema(value_type = Uuid)]
    pub(super) conversation_id: WidgetUuid,
    /// The assistant's first message, if it has one.
    pub(super) history: Vec<FirstMessage>,
}

/// What an assistant says first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FirstMessage {
    #[schema(example = "assistant")]
    pub(super) role: &'static str,
    pub(super) content: String,
}

/// A conversation as a visitor sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct VisitorView {
    pub(super) status: bool,
    /// The oldest first.
    pub(super) history: Vec<Entry>,
    /// What the visitor set.
    #[schema(value_type = Object)]
    pub(super) variables: Box<RawValue>,
    pub(super) ai_enabled: bool,
}

/// A message as a visitor sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Entry {
    /// `user` or `assistant`, which a person who helps is shown as, too.
    #[schema(example = "assistant")]
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<FunctionCall>>)]
    function_calls: Option<Box<RawValue>>,
    #[schema(value_type = String, example = "msg_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: MessageId,
    #[schema(example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// `user`, `agent` or `assistant`.
    #[schema(value_type = String, example = "assistant")]
    sender_type: SenderType,
}

impl From<Message> for Entry {
    fn from(message: Message) -> Self {
        let role = match message.sender_type {
            SenderType::User => "user",
            SenderType::Agent | SenderType::Assistant => "assistant",
            SenderType::System => "system",
        };
        Self {
            role,
            content: message.text,
            function_calls: message.function_calls.as_deref().map(raw),
            id: message.id,
            created_at: message.created_at.to_string(),
            sender_type: message.sender_type,
        }
    }
}

/// How a conversation's AI stands.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct AiStatus {
    pub(super) status: bool,
    pub(super) ai_enabled: bool,
}
