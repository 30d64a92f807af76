//! Events of the feed and the webhooks.

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

/// The bounds of the feed of a workspace. Cursors count up from 1 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRange {
    /// The cursor of the oldest retained event, or of the next event.
    pub oldest: i64,
    /// The cursor of the last event; 0 before the first.
    pub latest: i64,
}

impl Default for CursorRange {
    /// The bounds of an empty feed.
    fn default() -> Self {
        Self { oldest: 1, latest: 0 }
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
