//! Deliveries as they are told to whoever runs the endpoint.

use super::clock::Micros;
use super::delivery::{Attempt, DeliveryState};
use super::event::EventType;
use super::ids::{ConversationId, DeliveryId, EventId};

/// A delivery, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryLogEntry {
    pub id: DeliveryId,
    /// Of its event.
    pub cursor: i64,
    pub conversation: Option<ConversationId>,
    pub event: EventId,
    pub kind: EventType,
    pub state: DeliveryState,
    /// Sent again by request.
    pub replay: bool,
    pub attempts: i64,
    /// When the next attempt may begin, while it is queued.
    pub not_before: Micros,
    /// When it was queued, the last time: the store's time.
    pub created_at: Micros,
    pub ended_at: Option<Micros>,
}

/// An attempt, by its number within its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptLogEntry {
    /// From 1.
    pub number: i64,
    pub attempt: Attempt,
}

/// A delivery with its attempts, the last hundred of them, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryDetails {
    pub delivery: DeliveryLogEntry,
    pub attempts: Vec<AttemptLogEntry>,
}
