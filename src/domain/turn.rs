//! A turn: the durable unit of work for one reply.

use super::clock::Micros;
use super::failure::{Discard, Failure};
use super::ids::{AssistantId, ConversationId, MessageId, ProcessId, TurnId, WorkspaceId};
use super::money::Money;
use super::string_enum::string_enum;

string_enum! {
    /// The API through which a message arrived.
    Api {
        /// `/api`: the client waits for the reply.
        Widget = "widget",
        /// `/v1`: the reply is delivered later.
        Platform = "platform",
    }
}

string_enum! {
    /// The state of a turn.
    TurnState {
        /// An earlier turn of its conversation is open.
        Waiting = "waiting",
        /// May be claimed, from `not_before` on.
        Queued = "queued",
        /// Owned by a process.
        Running = "running",
        /// Its reply is stored.
        Completed = "completed",
        /// It failed and was refunded.
        Failed = "failed",
        /// Its reply was discarded and refunded.
        Discarded = "discarded",
    }
}

impl TurnState {
    /// Whether the turn is open.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Running => true,
            Self::Completed | Self::Failed | Self::Discarded => false,
        }
    }
}

/// A stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub workspace: WorkspaceId,
    pub id: TurnId,
    pub conversation: ConversationId,
    /// The position of the message that it answers; turns run in this order.
    pub position: i64,
    pub message: MessageId,
    pub api: Api,
    pub state: TurnState,
    pub owner: Option<ProcessId>,
    /// Rises by one with every start, claim, takeover, hand-back and retry.
    pub fence: i64,
    /// Finished attempts without a reply.
    pub attempts: i64,
    pub takeovers: i64,
    /// While queued: the earliest claim. While running: the start of its attempt.
    pub not_before: Micros,
    pub admitted_at: Micros,
    pub first_started_at: Option<Micros>,
    /// The deadline of the client, for a widget turn.
    pub deadline_at: Option<Micros>,
    /// The charge, in millionths of a dollar.
    pub price: Money,
    pub assistant: AssistantId,
    pub assistant_version: i64,
    /// The scope and key under which its response is stored.
    pub idempotency: Option<(String, String)>,
    /// The code of its [`Failure`] or [`Discard`], if it ended with one.
    pub reason: Option<String>,
    /// The last failed call of a model: a [`ModelErrorDetail`](super::chat::ModelErrorDetail) as JSON.
    pub model_error: Option<String>,
    pub reply: Option<MessageId>,
    pub ended_at: Option<Micros>,
}

/// The key of a turn, with its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TurnRef {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub turn: TurnId,
}

/// A reply, as the tool loop returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub id: MessageId,
    pub text: String,
    /// A JSON array of `{name, arguments, result}`, of at most 64 KiB.
    pub function_calls: String,
    /// The text ends where the model reached its limit of tokens.
    pub is_truncated: bool,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    Completed(Reply),
    Failed(Failure),
    Discarded(Discard),
}

impl TurnEnd {
    /// The state of a turn after this end.
    #[must_use]
    pub fn state(&self) -> TurnState {
        match self {
            Self::Completed(_) => TurnState::Completed,
            Self::Failed(_) => TurnState::Failed,
            Self::Discarded(_) => TurnState::Discarded,
        }
    }
}
