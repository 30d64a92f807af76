//! The bookings of a calendar: listed, read and cancelled.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::list::{Cursor, InvalidQuery, limit};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::calendar::{Booking, BookingState, Calendar, DayOrTime, rfc3339};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{BookingId, CalendarId, ConversationId};
use crate::domain::render::Success;
use crate::domain::schema::DayOrTimeText;
use crate::http::describe::{NotFound, error_sets};
use crate::http::envelope::Platform;
use crate::http::extract::{ConfigWrite, NestedPathParams, PathParam, QueryParams, Read};
use crate::http::fields::{Choice, Violation, check_choice};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::calendars::{self, BookingQuery};

type BookingCursor = Cursor<(Micros, BookingId), 'b'>;

/// The query of the list of bookings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BookingsQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<BookingCursor>)]
    cursor: Option<String>,
    /// Only bookings that end after this time, or after the start of this day in the calendar's time zone.
    #[param(inline, value_type = Option<DayOrTimeText>, example = "2026-03-15")]
    from: Option<String>,
    /// Only bookings that start before this time, or before the end of this day in the calendar's time zone.
    #[param(inline, value_type = Option<DayOrTimeText>, example = "2026-03-15T14:00:00Z")]
    to: Option<String>,
    #[param(inline, value_type = Option<BookingState>)]
    state: Option<String>,
    /// Only bookings of this conversation.
    #[param(inline, value_type = Option<ConversationId>)]
    conversation_id: Option<String>,
}

/// The states of bookings.
enum States {}

impl Choice for States {
    type Value = BookingState;

    fn words() -> Vec<&'static str> {
        vec!["booked", "cancelled"]
    }
}

/// The filter of a query, without the position of its page.
fn filter(query: &BookingsQuery) -> Result<BookingQuery, Error> {
    Ok(BookingQuery {
        from: bound("from", query.from.as_deref())?,
        to: bound("to", query.to.as_deref())?,
        state: check_choice::<States>("state", query.state.as_deref())?,
        conversation: query.conversation_id.clone(),
        after: None,
    })
}

fn bound(field: &'static str, text: Option<&str>) -> Result<Option<DayOrTime>, Error> {
    let rule =
        || Violation::rule("must be a date such as 2026-03-15, or a time such as 2026-03-15T14:00:00Z");
    text.map(|text| DayOrTime::parse(text).ok_or_else(|| rule().of::<Platform>(field))).transpose()
}

error_sets! {
    /// The CalDAV server of a calendar.
    CalendarUnavailable {
        "The event could not be removed from the CalDAV server" => Error::Conflict(
            "Nothing was cancelled: the calendar cannot be written at the moment.".to_owned(),
        ),
    }
}

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BookingOut {
    id: BookingId,
    calendar_id: CalendarId,
    /// The conversation that made it.
    conversation_id: ConversationId,
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

/// List a calendar's bookings.
///
/// They are ordered by their start.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings", tag = "platform", operation_id = "listBookings",
    security(("bearer" = ["read"])), params(("id" = inline(CalendarId), Path, description = "cal_…"), BookingsQuery),
    responses((status = 200, description = "A page", body = Success<Page<BookingOut>>), ReadErrors<(InvalidQuery, NotFound<ConversationId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<BookingsQuery>,
) -> Answer<Page<BookingOut>> {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = filter(&query)?;
    filter.after = BookingCursor::decode(query.cursor.as_deref())?;
    let (calendar, page) = calendars::list_bookings(&state.services, &account, &name, filter, limit).await?;
    let items = page.items.iter().map(|booking| BookingOut::new(booking, &calendar));
    let bookings = Page::new(items, page.next.map(BookingCursor::encode));
    Ok(Success::new("Bookings retrieved successfully.", bookings))
}

/// Read a booking.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings/{booking_id}", tag = "platform", operation_id = "readBooking",
    security(("bearer" = ["read"])),
    params(("id" = inline(CalendarId), Path, description = "cal_…"), ("booking_id" = inline(BookingId), Path, description = "bkg_…")),
    responses((status = 200, description = "The booking", body = Success<BookingOut>), ReadErrors<NotFound<BookingId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(calendar, name): NestedPathParams,
) -> Answer<BookingOut> {
    let (calendar, booking) = calendars::find_booking(&state.services, &account, &calendar, &name).await?;
    Ok(Success::new("Booking retrieved successfully.", BookingOut::new(&booking, &calendar)))
}

/// Cancel a booking.
///
/// It may be of any conversation. A cancelled booking does not change.
#[utoipa::path(
    post, path = "/calendars/{id}/bookings/{booking_id}/cancel", tag = "platform",
    operation_id = "cancelBooking", security(("bearer" = ["config"])),
    params(("id" = inline(CalendarId), Path, description = "cal_…"), ("booking_id" = inline(BookingId), Path, description = "bkg_…")),
    responses((status = 200, description = "The booking after the change", body = Success<BookingOut>), ConfigErrors<(NotFound<BookingId>, CalendarUnavailable)>),
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    NestedPathParams(calendar, name): NestedPathParams,
) -> Answer<BookingOut> {
    let (calendar, booking) = calendars::cancel_booking(&state.services, &account, &calendar, &name).await?;
    Ok(Success::new("Booking cancelled successfully.", BookingOut::new(&booking, &calendar)))
}
