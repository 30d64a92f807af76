//! A turn: the durable unit of work for one reply.

use super::clock::{Micros, TimeRange};
use super::failure::{Discard, Failure};
use super::ids::{AssistantId, ConversationId, KeyId, MessageId, ProcessId, TurnId, WorkspaceId};
use super::money::Money;
use super::string_enum::string_enum;

/// The earlier texts of a reply together, in bytes.
const MAX_EARLIER_TEXTS: usize = 64 * 1024;

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
    /// A client has asked to stop it while it ran. If its owner dies before it does so, the next one discards the turn.
    pub is_stop_requested: bool,
    /// The process that streams its reply, if others share the database. No other runs it while this one can.
    pub stream_process: Option<ProcessId>,
    /// The API key that sent its message, for the usage of keys; none of a visitor without one.
    pub key: Option<KeyId>,
    /// The turn that runs it again after it failed.
    pub retried_by: Option<TurnId>,
}

/// The filter of a list of turns; absent fields match all.
#[derive(Clone, Debug, Default)]
pub struct TurnFilter {
    pub state: Option<TurnState>,
    pub api: Option<Api>,
    pub conversation: Option<ConversationId>,
    pub created: TimeRange,
    /// The last turn of the previous page.
    pub before: Option<TurnId>,
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
    /// The text ends where a client stopped it.
    pub is_stopped: bool,
    /// The texts before it, from [`earlier_texts`].
    pub earlier_texts: Option<String>,
}

/// The texts that a model wrote before its reply, beside its calls, as a JSON array; `None` if there are none. Beyond 64 KiB they
/// are left out.
pub fn earlier_texts(texts: Vec<String>) -> Option<String> {
    let mut room = MAX_EARLIER_TEXTS;
    let mut kept = Vec::new();
    for mut text in texts.into_iter().filter(|text| !text.trim().is_empty()) {
        let fitting = text.floor_char_boundary(room);
        room = if fitting < text.len() { 0 } else { room - fitting };
        text.truncate(fitting);
        kept.extend(Some(text).filter(|text| !text.is_empty()));
    }
    if kept.is_empty() { None } else { serde_json::to_string(&kept).ok() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_texts_are_bounded_together() {
        let texts = |texts: &[&str]| earlier_texts(texts.iter().map(|text| (*text).to_owned()).collect());

        assert_eq!(texts(&[]), None);
        assert_eq!(texts(&[" "]), None);
        assert_eq!(texts(&["Let me look.", "", "And there."]).unwrap(), r#"["Let me look.","And there."]"#);
        let long = "ü".repeat(MAX_EARLIER_TEXTS);
        let kept: Vec<String> = serde_json::from_str(&texts(&["Hm.", &long, "More"]).unwrap()).unwrap();
        assert_eq!((kept.len(), kept.concat().len()), (2, MAX_EARLIER_TEXTS - 1));
    }
}
