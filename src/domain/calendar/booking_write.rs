//! Bookings as rows, and the writes to them that tool calls ask for.

use jiff::Timestamp;

use super::arguments::{BookingRequest, CancelRequest};
use super::booking::booking_range;
use super::interval::Interval;
use super::rules::CalendarRules;
use super::types::BookingState;
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, TurnId, WorkspaceId};

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub workspace: WorkspaceId,
    pub calendar: CalendarId,
    pub id: BookingId,
    /// The tool call that made it; unique within the calendar.
    pub call: String,
    pub conversation: ConversationId,
    pub time: Interval,
    pub title: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub notes: Option<String>,
    pub created_at: Micros,
    pub cancelled_at: Option<Micros>,
    /// The address of its resource, where it is on a CalDAV server: that knows when it is now, and whether.
    pub resource: Option<String>,
    /// The turn that is about to put it there: until that is confirmed, it is a hold and no booking.
    pub held_by: Option<TurnId>,
}

impl Booking {
    /// What has become of it.
    #[must_use]
    pub fn state(&self) -> BookingState {
        if self.cancelled_at.is_none() { BookingState::Booked } else { BookingState::Cancelled }
    }
}

/// A call of a tool that changes our own store; decided under the calendar's lock.
#[derive(Clone, Debug)]
pub enum BookingWrite {
    Book {
        calendar: CalendarId,
        rules: Box<CalendarRules>,
        request: BookingRequest,
        id: BookingId,
        /// The call's stable id: a booking that it made is found again, not made twice.
        call: String,
    },
    Cancel {
        calendar: CalendarId,
        request: CancelRequest,
        /// Its event has been removed from the server that it was on: one that is still there is not cancelled.
        is_removed: bool,
    },
    /// Keeps a slot of a calendar on a server free for the call, while the turn is open.
    Hold(Box<Hold>),
    /// What was held is on the server.
    Confirm { calendar: CalendarId, id: BookingId, rules: Box<CalendarRules> },
    /// What was held is not, or must not be, on the server.
    Release { calendar: CalendarId, id: BookingId },
}

/// A slot to be held.
#[derive(Clone, Debug)]
pub struct Hold {
    pub calendar: CalendarId,
    pub rules: CalendarRules,
    pub request: BookingRequest,
    pub id: BookingId,
    /// The call's stable id: what it has held is found again.
    pub call: String,
    /// The calendar's address. What it has elsewhere, from before it had this one, its server does not know of.
    pub url: String,
    /// Where it will be.
    pub resource: String,
    /// When the server says that the calendar is busy.
    pub busy: Vec<Interval>,
}

impl BookingWrite {
    /// The rows that the write depends on.
    #[must_use]
    pub fn lookup(&self, workspace: WorkspaceId, now: Timestamp) -> BookingLookup {
        let lookup = |calendar| BookingLookup { workspace, calendar, range: None, call: None, id: None };
        match self {
            Self::Book { calendar, rules, request, call, .. } => BookingLookup {
                range: Some(booking_range(rules, request, now)),
                call: Some(call.clone()),
                ..lookup(*calendar)
            },
            Self::Hold(hold) => BookingLookup {
                range: Some(booking_range(&hold.rules, &hold.request, now)),
                call: Some(hold.call.clone()),
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
    pub calendar: CalendarId,
    /// Live bookings and holds that overlap this range.
    pub range: Option<Interval>,
    /// The booking of a call, live or cancelled.
    pub call: Option<String>,
    /// A booking by its id, live or cancelled.
    pub id: Option<BookingId>,
}
