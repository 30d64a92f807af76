//! Bookings, as the platform API shows them.

use serde::Serialize;
use utoipa::ToSchema;

use super::{RenderedResponse, Success};
use crate::domain::calendar::{Booking, BookingState, CalendarRules, rfc3339};
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId};

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Booking)]
pub struct BookingOut {
    #[schema(example = "bkg_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: BookingId,
    #[schema(example = "cal_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    calendar_id: CalendarId,
    /// The conversation that it was made in, if it was made in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "con_9s2kd81")]
    conversation_id: Option<ConversationId>,
    /// `booked` or `cancelled`.
    #[schema(example = "booked")]
    state: BookingState,
    #[schema(example = "Demo")]
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ada Lovelace")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ada@example.com")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    /// In UTC.
    #[schema(format = DateTime, example = "2026-03-16T13:00:00Z")]
    starts_at: String,
    #[schema(format = DateTime, example = "2026-03-16T13:30:00Z")]
    ends_at: String,
    /// The start in the calendar's time zone, as the booking tool returns it.
    #[schema(example = "2026-03-16T14:00:00+01:00")]
    start: String,
    #[schema(example = "2026-03-16T14:30:00+01:00")]
    end: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    cancelled_at: Option<String>,
}

impl BookingOut {
    /// A booking in a calendar with these rules.
    #[must_use]
    pub fn new(booking: &Booking, rules: &CalendarRules) -> Self {
        let zone = rules.zone();
        let (start, end) = (booking.time.start, booking.time.end);
        Self {
            id: booking.id,
            calendar_id: booking.calendar,
            conversation_id: booking.conversation,
            state: booking.state(),
            title: booking.title.clone(),
            name: booking.name.clone(),
            email: booking.email.clone(),
            notes: booking.notes.clone(),
            starts_at: Micros::from(start).to_string(),
            ends_at: Micros::from(end).to_string(),
            start: rfc3339(start, zone),
            end: rfc3339(end, zone),
            time_zone: rules.time_zone().to_owned(),
            created_at: booking.created_at.to_string(),
            cancelled_at: booking.cancelled_at.map(|at| at.to_string()),
        }
    }
}

/// The response to a request that has made a booking.
#[must_use]
pub fn booking_created(booking: &Booking, rules: &CalendarRules) -> RenderedResponse {
    let body = Success::new("Booking created successfully.", BookingOut::new(booking, rules)).to_json();
    RenderedResponse { status: 200, body, code: None, reason: None }
}
