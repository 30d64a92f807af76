//! Stored bookings, and the writes that tool calls and requests of the API make.

use std::time::Duration;

use super::arguments::{BookingRequest, CancelRequest};
use super::booking::booking_range;
use super::interval::Interval;
use super::rules::CalendarRules;
use super::types::BookingState;
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, TurnId, WorkspaceId};
use crate::domain::turn::TurnRef;

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub workspace: WorkspaceId,
    pub calendar: CalendarId,
    pub id: BookingId,
    /// The id of the tool call or request that created it; unique within the calendar.
    pub call: String,
    /// None if a request of the API made it without naming one.
    pub conversation: Option<ConversationId>,
    pub time: Interval,
    pub title: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub notes: Option<String>,
    pub created_at: Micros,
    pub cancelled_at: Option<Micros>,
    /// The URL of its event on a CalDAV server. The server is authoritative for its time and existence.
    pub resource: Option<String>,
    /// Who is writing the event to the server: a turn, or for a request of the API the booking's own id. Until that is confirmed,
    /// this row is only a hold. That of a turn ends with it; that of a request counts for [`HOLD_OF_REQUEST`].
    pub held_by: Option<TurnId>,
}

/// How long a hold of a request of the API counts.
pub const HOLD_OF_REQUEST: Duration = Duration::from_mins(2);
/// How long such a hold may be confirmed: until long before it no longer counts, because clocks of processes differ.
const CONFIRMATION_OF_REQUEST: Duration = Duration::from_mins(1);

/// On whose behalf a booking is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booker {
    pub workspace: WorkspaceId,
    /// None: a request of the API that names no conversation.
    pub conversation: Option<ConversationId>,
    /// The turn that makes the call. None: a request of the API.
    pub turn: Option<TurnId>,
}

impl From<&TurnRef> for Booker {
    fn from(turn: &TurnRef) -> Self {
        Self { workspace: turn.workspace, conversation: Some(turn.conversation), turn: Some(turn.turn) }
    }
}

impl Booker {
    /// The value of `held_by` for a hold with this id.
    #[must_use]
    pub fn holder(&self, id: BookingId) -> TurnId {
        self.turn.unwrap_or(TurnId(id.0))
    }
}

impl Booking {
    /// Whether it is a hold that can no longer be confirmed at `now`, because its request took too long.
    #[must_use]
    pub fn is_overdue(&self, now: Micros) -> bool {
        self.held_by == Some(TurnId(self.id.0)) && now > self.created_at.plus(CONFIRMATION_OF_REQUEST)
    }

    #[must_use]
    pub fn state(&self) -> BookingState {
        if self.cancelled_at.is_none() { BookingState::Booked } else { BookingState::Cancelled }
    }
}

/// A write to our database that a tool call or a request makes; decided under the calendar's lock.
#[derive(Clone, Debug)]
pub enum BookingWrite {
    Book {
        calendar: CalendarId,
        rules: Box<CalendarRules>,
        request: BookingRequest,
        id: BookingId,
        /// The stable id of the call. A repeated call finds the booking that it already made.
        call: String,
    },
    Cancel {
        calendar: CalendarId,
        request: CancelRequest,
        /// Whether its event was removed from the CalDAV server; required before a booking with an event is
        /// cancelled.
        is_removed: bool,
    },
    /// Reserves a slot of a CalDAV calendar for the call while the turn is open.
    Hold(Box<Hold>),
    /// The event of a hold was written to the server.
    Confirm { calendar: CalendarId, id: BookingId, rules: Box<CalendarRules> },
    /// The event of a hold is not on the server, or must not be.
    Release { calendar: CalendarId, id: BookingId },
}

/// The reservation of a slot until its event is on the server.
#[derive(Clone, Debug)]
pub struct Hold {
    pub calendar: CalendarId,
    pub rules: CalendarRules,
    pub request: BookingRequest,
    pub id: BookingId,
    /// The stable id of the call. A repeated call finds its hold.
    pub call: String,
    /// The calendar's current URL. Its server does not know about bookings made under a previous URL.
    pub url: String,
    /// The URL that the event will have.
    pub resource: String,
    /// The busy times that the server reported.
    pub busy: Vec<Interval>,
}

impl BookingWrite {
    /// The rows that the write depends on.
    #[must_use]
    pub fn lookup(&self, booker: &Booker, now: Micros) -> BookingLookup {
        let lookup = |calendar| BookingLookup {
            workspace: booker.workspace,
            now,
            calendar,
            range: None,
            call: None,
            id: None,
            counted: None,
        };
        let counted = Some((booker.conversation, now.start_of_day()));
        let now = now.timestamp();
        match self {
            Self::Book { calendar, rules, request, call, .. } => BookingLookup {
                range: Some(booking_range(rules, request, now)),
                call: Some(call.clone()),
                counted,
                ..lookup(*calendar)
            },
            Self::Hold(hold) => BookingLookup {
                range: Some(booking_range(&hold.rules, &hold.request, now)),
                call: Some(hold.call.clone()),
                counted,
                ..lookup(hold.calendar)
            },
            Self::Cancel { calendar, request, .. } => {
                BookingLookup { id: request.booking_id.parse().ok(), ..lookup(*calendar) }
            }
            Self::Confirm { calendar, id, .. } | Self::Release { calendar, id } => {
                BookingLookup { id: Some(*id), ..lookup(*calendar) }
            }
        }
    }
}

/// The rows of a calendar that a [`BookingWrite`] depends on.
#[derive(Clone, Debug)]
pub struct BookingLookup {
    pub workspace: WorkspaceId,
    /// The time by which holds of requests still count.
    pub now: Micros,
    pub calendar: CalendarId,
    /// Selects the active bookings and holds that overlap this range.
    pub range: Option<Interval>,
    /// Selects the booking of this call, active or cancelled.
    pub call: Option<String>,
    /// Selects the booking with this id, active or cancelled.
    pub id: Option<BookingId>,
    /// Counts the bookings of this conversation, if there is one, and those that were made since this time.
    pub counted: Option<(Option<ConversationId>, Micros)>,
}

/// The bookings that were made in a calendar, active or cancelled, without holds that were released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookingCounts {
    /// By the conversation.
    pub conversation: i64,
    /// On the current day (UTC), by all conversations.
    pub day: i64,
}
