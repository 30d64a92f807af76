//! The bookings of a calendar: made, listed, read and cancelled.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;
use utoipa::openapi::schema::Schema;

use super::availability::TooManyCaldavRequests;
use super::list::{Cursor, InvalidQuery, limit};
use super::{Answer, ReadErrors};
use crate::domain::calendar::{BookingState, DayOrTime};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{BookingId, CalendarId, ConversationId};
use crate::domain::render::{BookingOut, Success};
use crate::domain::schema::{DayOrTimeText, formatted};
use crate::http::describe::{Errors, IdempotencyErrors, NotFound, Overloaded, WriteUnavailable, error_sets};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{
    Input, MessagesWrite, NestedPathParams, NoInput, PathParam, QueryParams, Read, idempotency_key,
    idempotency_request,
};
use crate::http::fields::{
    AnyText, Choice, FieldType, Text, Violation, check_choice, request, string_schema,
};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::calendars::{self, BookAppointment, BookingQuery};

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /v1/calendars/{id}/bookings";

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

/// A string of at most `MAX` characters; a blank one counts as absent.
#[derive(Debug)]
pub(super) enum Detail<const MAX: usize> {}

impl<const MAX: usize> FieldType for Detail<MAX> {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let text = AnyText::check(raw)?.filter(|text| !text.trim().is_empty());
        match text {
            Some(text) if text.chars().count() > MAX => Err(Violation::TooLong { max_chars: MAX }),
            text => Ok(text),
        }
    }

    fn schema() -> Schema {
        string_schema(Some(MAX))
    }
}

/// The longest start of a booking, in characters.
const MAX_START: usize = 64;

/// The start of a booking. The calendar reads it.
#[derive(Debug)]
pub(super) enum Start {}

impl FieldType for Start {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        Text::<MAX_START>::check(raw)
    }

    fn schema() -> Schema {
        formatted("booking-start").max_length(Some(MAX_START)).into()
    }
}

request! {
    /// A booking to make. The fields are those of the booking tool.
    pub(super) struct BookingIn as NewBooking {
        /// The start of a free slot: ISO 8601, or as a tool lists it. Without an offset it is in the calendar's time zone.
        start: Start = "2026-03-16T14:00",
        /// What the appointment is about.
        title: Text<200> = "Demo",
        name: Option<Detail<200>> = "Ada Lovelace",
        /// Not validated.
        email: Option<Detail<320>> = "ada@example.com",
        notes: Option<Detail<2000>>,
        /// The conversation that the appointment is made in. It can then be cancelled there, too, and counts towards
        /// `bookings_per_conversation`.
        conversation_id: Option<AnyText>,
    }
}

error_sets! {
    /// A start that cannot be booked.
    NotBookable {
        "The start is not free or not bookable, a limit of the calendar is reached, or its CalDAV server cannot be used" => Error::Conflict(
            "Nothing was booked: 2026-03-16 14:00 is taken. Free: 2026-03-16 15:00, 2026-03-17 10:00.".to_owned(),
        ),
    }

    /// The CalDAV server of a calendar.
    CalendarUnavailable {
        "The event could not be removed from the CalDAV server" => Error::Conflict(
            "Nothing was cancelled: the calendar cannot be written at the moment.".to_owned(),
        ),
    }
}

type BookingErrors<S> = Errors<Platform, (MessagesWrite, Overloaded, WriteUnavailable, S)>;

/// Book an appointment.
///
/// The rules are those of the calendar's booking tool. If the start is not free, the error names the nearest free ones.
#[utoipa::path(
    post, path = "/calendars/{id}/bookings", tag = "platform", operation_id = "createBooking",
    security(("bearer" = ["messages:write"])),
    params(
        ("id" = inline(CalendarId), Path, description = "cal_…"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters; the response is stored for 24 hours"),
    ),
    request_body = BookingIn,
    responses((status = 200, description = "The booking", body = Success<BookingOut>, headers(
        ("Idempotent-Replayed" = String, description = "`true` if this is the stored response of the same Idempotency-Key"),
    )), BookingErrors<(Input<BookingIn>, IdempotencyErrors, NotFound<CalendarId>, NotFound<ConversationId>, NotFound<BookingId>, NotBookable, TooManyCaldavRequests)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    headers: HeaderMap,
    input: Input<BookingIn>,
) -> Result<Response, ApiError<Platform>> {
    let Input { value: input, bytes, .. } = input;
    let request = BookAppointment {
        start: input.start,
        title: input.title,
        name: input.name,
        email: input.email,
        notes: input.notes,
        conversation: input.conversation_id,
        idempotency: idempotency_request(idempotency_key(&headers)?, ROUTE, &bytes),
    };
    Ok(calendars::book(&state.services, &account, &name, request).await?.into_response())
}

/// List a calendar's bookings.
///
/// They are ordered by their start.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings", tag = "platform", operation_id = "listBookings",
    security(("bearer" = ["read"])), params(("id" = inline(CalendarId), Path, description = "cal_…"), BookingsQuery),
    responses((status = 200, description = "A page", body = Success<Page<BookingOut>>), ReadErrors<(InvalidQuery, NotFound<CalendarId>, NotFound<ConversationId>)>),
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
    let items = page.items.iter().map(|booking| BookingOut::new(booking, &calendar.rules));
    let bookings = Page::new(items, page.next.map(BookingCursor::encode));
    Ok(Success::new("Bookings retrieved successfully.", bookings))
}

/// Read a booking.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings/{booking_id}", tag = "platform", operation_id = "readBooking",
    security(("bearer" = ["read"])),
    params(("id" = inline(CalendarId), Path, description = "cal_…"), ("booking_id" = inline(BookingId), Path, description = "bkg_…")),
    responses((status = 200, description = "The booking", body = Success<BookingOut>), ReadErrors<(NotFound<CalendarId>, NotFound<BookingId>)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(calendar, name): NestedPathParams,
) -> Answer<BookingOut> {
    let (calendar, booking) = calendars::find_booking(&state.services, &account, &calendar, &name).await?;
    Ok(Success::new("Booking retrieved successfully.", BookingOut::new(&booking, &calendar.rules)))
}

/// Cancel a booking.
///
/// It may be of any conversation. A cancelled booking does not change.
#[utoipa::path(
    post, path = "/calendars/{id}/bookings/{booking_id}/cancel", tag = "platform",
    operation_id = "cancelBooking", security(("bearer" = ["messages:write"])),
    params(("id" = inline(CalendarId), Path, description = "cal_…"), ("booking_id" = inline(BookingId), Path, description = "bkg_…")),
    responses((status = 200, description = "The booking after the change", body = Success<BookingOut>), BookingErrors<(NoInput, NotFound<CalendarId>, NotFound<BookingId>, CalendarUnavailable)>),
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    NestedPathParams(calendar, name): NestedPathParams,
    _: NoInput,
) -> Answer<BookingOut> {
    let (calendar, booking) = calendars::cancel_booking(&state.services, &account, &calendar, &name).await?;
    Ok(Success::new("Booking cancelled successfully.", BookingOut::new(&booking, &calendar.rules)))
}
