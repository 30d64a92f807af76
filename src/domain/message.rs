//! Messages of conversations: sent messages and replies.

use super::clock::Micros;
use super::conversation::SenderType;
use super::ids::{ConversationId, MessageId, TurnId, WorkspaceId};

/// The `sender_id` of widget visitors.
pub const VISITOR: &str = "visitor";

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
}

impl Message {
    /// The bytes of its text, metadata, function calls and earlier texts.
    pub fn content_bytes(&self) -> usize {
        let texts = [&self.metadata, &self.function_calls, &self.earlier_texts].into_iter().flatten();
        self.text.len() + texts.map(String::len).sum::<usize>()
    }
}

/// The key of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub position: i64,
}
