//! Messages of conversations: sent messages and replies.

use serde::Serialize;
use utoipa::ToSchema;

use super::clock::Micros;
use super::conversation::SenderType;
use super::ids::{ConversationId, MessageId, TurnId, WorkspaceId};
use super::string_enum::string_enum;

/// The `sender_id` of widget visitors.
pub const VISITOR: &str = "visitor";

/// The longest comment of a [`Feedback`], in characters.
pub const MAX_COMMENT: usize = 1000;

string_enum! {
    /// Whether a visitor found a message helpful.
    Rating {
        Up = "up",
        Down = "down",
    }
}

/// What a visitor thinks of a message of an assistant or an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Feedback {
    pub rating: Rating,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, example = "That answered my question.")]
    pub comment: Option<String>,
}

/// A stored message. Free-form JSON keeps the text that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    /// Its position in the conversation: append-only, from 1, without gaps.
    pub position: i64,
    pub id: MessageId,
    pub sender_type: SenderType,
    pub sender_id: String,
    pub text: String,
    /// A JSON object.
    pub metadata: Option<String>,
    pub reply_to: Option<MessageId>,
    /// For a reply, the position of the message that it answers.
    pub answers: Option<i64>,
    /// For a reply, the calls made for it: a JSON array of `{name, arguments, result}`, of at most 64 KiB.
    pub function_calls: Option<String>,
    /// The reply ends where the model reached its limit of tokens, or after 256 KiB.
    pub is_truncated: bool,
    /// The reply ends where a client stopped it.
    pub is_stopped: bool,
    /// The texts that the model wrote before the reply, beside its calls: a JSON array of at most 64 KiB of text.
    pub earlier_texts: Option<String>,
    /// The turn that answers this message or produced this reply.
    pub turn: Option<TurnId>,
    pub created_at: Micros,
    pub rating: Option<Rating>,
    /// The comment of the rating.
    pub rating_comment: Option<String>,
}

impl Message {
    /// The bytes of its text, metadata, function calls, earlier texts and comment.
    pub fn content_bytes(&self) -> usize {
        let texts = [&self.metadata, &self.function_calls, &self.earlier_texts, &self.rating_comment];
        self.text.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }

    /// What the visitor thinks of it.
    #[must_use]
    pub fn feedback(&self) -> Option<Feedback> {
        self.rating.map(|rating| Feedback { rating, comment: self.rating_comment.clone() })
    }
}

/// A message, as far as its rating needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedMessage {
    pub key: MessageRef,
    pub sender_type: SenderType,
    pub feedback: Option<Feedback>,
}

impl RatedMessage {
    /// Whether visitors rate messages of its sender.
    #[must_use]
    pub fn is_ratable(&self) -> bool {
        matches!(self.sender_type, SenderType::Assistant | SenderType::Agent)
    }
}

/// The key of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub position: i64,
}
