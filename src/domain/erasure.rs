//! Erasures delete conversations with all their content: a single one, all those of a person, or those whose retention has ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::ids::{BookingId, CalendarId, ConversationId, ErasureId, WorkspaceId};
use super::string_enum::string_enum;

/// How many of the appointments that are still on a CalDAV server an erasure lists.
pub const MAX_REMAINING: usize = 100;
/// The title of a booking whose content was removed.
pub const ERASED_TITLE: &str = "";

string_enum! {
    /// Why conversations are erased.
    ErasureReason {
        /// An API key asked for it.
        Request = "request",
        /// The retention period of the workspace has passed.
        Retention = "retention",
    }
}

string_enum! {
    /// How far an erasure is.
    ErasureState {
        /// The conversations cannot be read any more, and their content is being removed.
        Running = "running",
        /// Nothing of them is left in the database.
        Done = "done",
    }
}

/// A person, as a back end names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    /// The `external_identifier` of their conversations.
    ExternalIdentifier(String),
    /// The `sender_id` of their messages of the platform API.
    Sender(String),
    /// The `sub` of their identity tokens.
    Identity(String),
}

/// Which conversations are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureTarget {
    Conversation(ConversationId),
    /// Those of a person. Those up to `scanned` were looked at.
    Person {
        person: Person,
        scanned: Option<ConversationId>,
    },
    /// Those without a message since this time. Those up to `scanned` were looked at.
    Inactive {
        since: Micros,
        scanned: Option<(Micros, ConversationId)>,
    },
}

/// An erasure to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewErasure {
    pub workspace: WorkspaceId,
    pub id: ErasureId,
    pub reason: ErasureReason,
    pub target: ErasureTarget,
    pub created_at: Micros,
}

/// What an erasure has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasureCounts {
    pub conversations: i64,
    pub messages: i64,
    /// Events whose data was removed.
    pub events: i64,
    /// Bookings whose title, name, e-mail address and notes were removed.
    pub bookings: i64,
}

/// An erasure, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub workspace: WorkspaceId,
    pub id: ErasureId,
    pub reason: ErasureReason,
    /// If it is of one conversation.
    pub conversation: Option<ConversationId>,
    pub created_at: Micros,
    pub ended_at: Option<Micros>,
    pub counts: ErasureCounts,
    /// The first appointments that could not be removed from their server.
    pub remaining: Vec<RemainingAppointment>,
    pub remaining_count: i64,
}

impl Erasure {
    /// A new erasure.
    #[must_use]
    pub fn new(new: &NewErasure) -> Self {
        let conversation = match new.target {
            ErasureTarget::Conversation(id) => Some(id),
            ErasureTarget::Person { .. } | ErasureTarget::Inactive { .. } => None,
        };
        Self {
            workspace: new.workspace,
            id: new.id,
            reason: new.reason,
            conversation,
            created_at: new.created_at,
            ended_at: None,
            counts: ErasureCounts::default(),
            remaining: Vec::new(),
            remaining_count: 0,
        }
    }

    #[must_use]
    pub fn state(&self) -> ErasureState {
        if self.ended_at.is_some() { ErasureState::Done } else { ErasureState::Running }
    }
}

/// An appointment that could not be removed from its CalDAV server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemainingAppointment {
    pub calendar_id: CalendarId,
    pub booking_id: BookingId,
    /// The UID of the event on the server.
    pub event: String,
}

/// An erasure on which a process works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureJob {
    pub workspace: WorkspaceId,
    pub id: ErasureId,
    pub target: ErasureTarget,
    pub created_at: Micros,
    /// All its conversations are marked as deleted.
    pub is_marked: bool,
    /// The calendars whose server removes no appointment.
    pub failing_calendars: FailingCalendars,
}

/// Calendars whose server removes no appointment at the moment.
pub type FailingCalendars = BTreeMap<CalendarId, ServerFailure>;

/// When a server has failed without a success in between, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFailure {
    pub first: i64,
    pub last: i64,
}
