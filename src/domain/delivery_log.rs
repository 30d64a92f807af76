//! The delivery log, for the owner of an endpoint.

use super::clock::Micros;
use super::delivery::{Attempt, DeliveryState};
use super::event::EventType;
use super::ids::{ConversationId, DeliveryId, EventId};

/// A delivery in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryLogEntry {
    pub id: DeliveryId,
    /// The cursor of its event.
    pub cursor: i64,
    pub conversation: Option<ConversationId>,
    pub event: EventId,
    pub kind: EventType,
    pub state: DeliveryState,
    /// Whether it was resent by request.
    pub replay: bool,
    pub attempts: i64,
    /// The earliest start of the next attempt, while it is queued.
    pub not_before: Micros,
    /// When it was last queued, by the clock of the database.
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
