//! Events of the feed and the webhooks.

use std::fmt;
use std::str::FromStr;

use super::clock::Micros;
use super::ids::{ConversationId, DeliveryId, EndpointId, EventId, WorkspaceId};
use super::string_enum::string_enum;

string_enum! {
    /// The type of an event.
    EventType {
        ConversationCreated = "conversation.created",
        ConversationUpdated = "conversation.updated",
        ConversationEnded = "conversation.ended",
        ConversationDeleted = "conversation.deleted",
        /// A message or a reply.
        MessageCreated = "message.created",
        /// A visitor rated a message, or withdrew the rating.
        MessageFeedback = "message.feedback",
        /// A turn failed.
        ReplyFailed = "reply.failed",
        /// A reply was discarded.
        ReplyDiscarded = "reply.discarded",
        /// Sent once when the balance falls below the threshold of the workspace.
        BalanceLow = "balance.low",
        WebhookEndpointDisabled = "webhook_endpoint.disabled",
        /// A requested test, for one endpoint only.
        WebhookEndpointTest = "webhook_endpoint.test",
    }
}

impl EventType {
    /// Whether all endpoints with this type get it; a test goes to one endpoint only.
    #[must_use]
    pub fn is_subscribable(self) -> bool {
        self != Self::WebhookEndpointTest
    }
}

/// A stored event: rendered once, in the transaction that it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub workspace: WorkspaceId,
    /// Its position in the feed of the workspace: commit order is cursor order.
    pub cursor: i64,
    pub id: EventId,
    pub kind: EventType,
    pub conversation: Option<ConversationId>,
    /// The JSON that the feed and the webhooks send, cursor included.
    pub body: String,
    pub created_at: Micros,
}

/// A position in the feed of a workspace, as readers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The epoch of the store, which a restore from a backup changes; 0 before the first one.
    pub epoch: i64,
    /// The cursor of the last event before it.
    pub number: i64,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of the event feed")]
pub struct MalformedCursor;

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, number } = self;
        if *epoch == 0 { write!(f, "{number}") } else { write!(f, "{epoch}-{number}") }
    }
}

impl FromStr for EventCursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_number).ok_or(MalformedCursor)
        };
        let (epoch, position) = text.split_once('-').unwrap_or(("0", text));
        Ok(Self { epoch: number(epoch)?, number: number(position)? })
    }
}

/// Why a cursor cannot be read from any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorExpiry {
    /// Retention has removed events after it.
    Removed,
    /// It is of another epoch of the store.
    Restored,
}

/// A cursor from which a reader cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredCursor {
    pub expiry: CursorExpiry,
    /// The nearest cursor from which it can.
    pub resume: EventCursor,
}

impl fmt::Display for ExpiredCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resume = self.resume;
        match self.expiry {
            CursorExpiry::Removed => write!(
                f,
                "The events after this cursor are kept no longer. The oldest that is kept follows after={resume}, or \
                 without 'after'."
            ),
            CursorExpiry::Restored => write!(
                f,
                "This cursor is from before the database was restored from a backup, and the events between the backup \
                 and the failure are lost. Resume with after={resume}, or without 'after' from the oldest event."
            ),
        }
    }
}

/// The bounds of the feed of a workspace. Cursors count up from 1, and have a gap where the database was restored from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRange {
    /// The epoch of the store.
    pub epoch: i64,
    /// The cursor of the oldest retained event, or of the next event.
    pub oldest: i64,
    /// The cursor of the last event; 0 before the first.
    pub latest: i64,
}

impl Default for CursorRange {
    /// The bounds of an empty feed.
    fn default() -> Self {
        Self { epoch: 0, oldest: 1, latest: 0 }
    }
}

impl CursorRange {
    /// The nearest position of this feed.
    #[must_use]
    pub fn nearest(&self, number: i64) -> EventCursor {
        EventCursor { epoch: self.epoch, number: number.min(self.latest).max(self.oldest - 1) }
    }
}

/// The filter of a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Empty: all.
    pub types: Vec<EventType>,
    /// None: events of all conversations, and of none.
    pub conversation: Option<ConversationId>,
}

impl EventFilter {
    /// Whether an event matches.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.kind))
            && (self.conversation.is_none() || self.conversation == event.conversation)
    }
}

/// An endpoint, as far as events need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub endpoint: EndpointId,
    /// Empty: all.
    pub types: Vec<EventType>,
}

impl Subscriber {
    /// Whether it receives events of this type.
    #[must_use]
    pub fn is_subscribed_to(&self, kind: EventType) -> bool {
        kind.is_subscribable() && (self.types.is_empty() || self.types.contains(&kind))
    }
}

/// The delivery of an event to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub cursor: i64,
    pub id: DeliveryId,
    pub conversation: Option<ConversationId>,
    pub created_at: Micros,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_number_until_a_restore_and_has_its_epoch_afterwards() {
        for (text, epoch, number) in [("0", 0, 0), ("42", 0, 42), ("1700-42", 1700, 42)] {
            let cursor = EventCursor { epoch, number };
            assert_eq!(text.parse(), Ok(cursor));
            assert_eq!(cursor.to_string(), text);
        }
        for garbage in ["", "-", "-1", "1-", "+1", "1-+1", "1-2-3", " 1", "latest", "9223372036854775808"] {
            assert_eq!(garbage.parse::<EventCursor>(), Err(MalformedCursor), "{garbage}");
        }
    }

    #[test]
    fn the_nearest_position_is_in_the_feed() {
        let range = CursorRange { epoch: 7, oldest: 3, latest: 5 };

        let nearest = [0, 2, 4, 9].map(|number| range.nearest(number).to_string());

        assert_eq!(nearest, ["7-2", "7-2", "7-4", "7-5"]);
    }
}
