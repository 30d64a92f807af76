//! What travels to and from the routes of calendars.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::calendar::{Booking, BookingState, Calendar, HoursIn, rfc3339};
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId};
use crate::http::pages::calendar_file;

/// Which bookings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct BookingsQuery {
    /// Items of a page; 1 to 200, 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// Only bookings that end after this time, or after this day of the calendar's zone begins.
    #[param(example = "2026-03-15")]
    pub(super) from: Option<String>,
    /// Only bookings that begin before this time, or before this day of the calendar's zone ends.
    #[param(example = "2026-03-15T14:00:00Z")]
    pub(super) to: Option<String>,
    /// `booked` or `cancelled`.
    pub(super) state: Option<String>,
    /// Only bookings that this conversation made.
    pub(super) conversation_id: Option<String>,
}

/// A calendar.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CalendarOut {
    #[schema(value_type = String, example = "cal_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: CalendarId,
    /// Its name in the workspace file.
    #[schema(example = "demos")]
    slug: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    slot_minutes: u32,
    buffer_minutes: u32,
    minimum_notice_minutes: u32,
    horizon_days: u32,
    hours: HoursOut,
    /// Days without any appointment.
    #[schema(example = json!(["2026-12-25"]))]
    holidays: Vec<String>,
    /// `here`, or `caldav`: then its appointments are on a CalDAV server.
    #[schema(example = "here")]
    source: &'static str,
    /// The calendar's address on that server.
    #[serde(skip_serializing_if = "Option::is_none")]
    caldav_url: Option<String>,
    /// Where calendar programs read its bookings: whoever has this address can. Null until one is made.
    #[schema(required)]
    ics_url: Option<String>,
    created_at: String,
}

/// Windows of opening hours by day of the week.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"mon": ["09:00-12:00", "13:00-17:00"], "tue": [], "wed": [], "thu": [], "fri": [], "sat": [], "sun": []}))]
pub(in crate::http) struct HoursOut {
    mon: Vec<String>,
    tue: Vec<String>,
    wed: Vec<String>,
    thu: Vec<String>,
    fri: Vec<String>,
    sat: Vec<String>,
    sun: Vec<String>,
}

impl From<HoursIn> for HoursOut {
    fn from(hours: HoursIn) -> Self {
        let HoursIn { mon, tue, wed, thu, fri, sat, sun } = hours;
        Self { mon, tue, wed, thu, fri, sat, sun }
    }
}

impl CalendarOut {
    /// `public_url` is the address of this server.
    pub(super) fn new(calendar: &Calendar, public_url: &str) -> Self {
        let rules = calendar.rules.source();
        Self {
            id: calendar.id,
            slug: calendar.slug.clone(),
            time_zone: rules.time_zone.clone(),
            slot_minutes: rules.slot_minutes,
            buffer_minutes: rules.buffer_minutes,
            minimum_notice_minutes: rules.minimum_notice_minutes,
            horizon_days: rules.horizon_days,
            hours: rules.hours.clone().into(),
            holidays: rules.holidays.clone(),
            source: if calendar.caldav.is_some() { "caldav" } else { "here" },
            caldav_url: calendar.caldav.as_ref().map(|caldav| caldav.url.clone()),
            ics_url: calendar.link.map(|token| calendar_file::url(public_url, token)),
            created_at: calendar.created_at.to_string(),
        }
    }
}

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct BookingOut {
    #[schema(value_type = String, example = "bkg_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: BookingId,
    #[schema(value_type = String)]
    calendar_id: CalendarId,
    /// The conversation that made it.
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    /// `booked` or `cancelled`.
    #[schema(value_type = String, example = "booked")]
    state: BookingState,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    /// In UTC.
    #[schema(example = "2026-03-16T13:00:00Z")]
    starts_at: String,
    ends_at: String,
    /// The same in the calendar's zone, as the tool that books says it.
    #[schema(example = "2026-03-16T14:00:00+01:00")]
    start: String,
    end: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<String>,
}

impl BookingOut {
    pub(super) fn new(booking: &Booking, calendar: &Calendar) -> Self {
        let zone = calendar.rules.zone();
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
            time_zone: calendar.rules.time_zone().to_owned(),
            created_at: booking.created_at.to_string(),
            cancelled_at: booking.cancelled_at.map(|at| at.to_string()),
        }
    }
}
