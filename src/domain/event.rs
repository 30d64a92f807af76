//! Events: what the feed and the webhooks tell.

use super::clock::Micros;
use super::ids::{ConversationId, DeliveryId, EndpointId, EventId, WorkspaceId};
use super::string_enum::string_enum;

string_enum! {
    /// What an event is about.
    EventType {
        ConversationCreated = "conversation.created",
        ConversationUpdated = "conversation.updated",
        ConversationEnded = "conversation.ended",
        ConversationDeleted = "conversation.deleted",
        /// Every message that someone sends, and every reply.
        MessageCreated = "message.created",
        /// A reply that will not come.
        ReplyFailed = "reply.failed",
        /// A reply that was not wanted any more.
        ReplyDiscarded = "reply.discarded",
        /// Once, when the balance crosses the workspace's threshold.
        BalanceLow = "balance.low",
        WebhookEndpointDisabled = "webhook_endpoint.disabled",
        /// By request, to one endpoint alone.
        WebhookEndpointTest = "webhook_endpoint.test",
    }
}

impl EventType {
    /// Whether it goes to whoever takes its type; a test goes to one endpoint alone.
    #[must_use]
    pub fn is_subscribable(self) -> bool {
        self != Self::WebhookEndpointTest
    }
}

/// An event as its row keeps it: rendered once, in the transaction that makes it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub workspace: WorkspaceId,
    /// Its place in the workspace's feed: commit order is cursor order.
    pub cursor: i64,
    pub id: EventId,
    pub kind: EventType,
    pub conversation: Option<ConversationId>,
    /// The JSON that the feed and the webhooks send, cursor included.
    pub body: String,
    pub created_at: Micros,
}

/// How far a workspace's feed reaches. Cursors count up from 1, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRange {
    /// The cursor of the oldest event that is kept, or of the next to be written.
    pub oldest: i64,
    /// The cursor of the last event that was written; 0 before the first.
    pub latest: i64,
}

impl Default for CursorRange {
    /// Of a feed that nothing was written to.
    fn default() -> Self {
        Self { oldest: 1, latest: 0 }
    }
}

/// Which events a reader of the feed wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Empty: all.
    pub types: Vec<EventType>,
    /// None: of all conversations, and of none.
    pub conversation: Option<ConversationId>,
}

impl EventFilter {
    /// Whether it lets an event through.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.kind))
            && (self.conversation.is_none() || self.conversation == event.conversation)
    }
}

/// An endpoint that events are delivered to, as far as an event needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub endpoint: EndpointId,
    /// Empty: all.
    pub types: Vec<EventType>,
}

impl Subscriber {
    /// Whether it wants events of this type.
    #[must_use]
    pub fn is_subscribed_to(&self, kind: EventType) -> bool {
        kind.is_subscribable() && (self.types.is_empty() || self.types.contains(&kind))
    }
}

/// An event on its way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub cursor: i64,
    pub id: DeliveryId,
    pub conversation: Option<ConversationId>,
    pub created_at: Micros,
}
