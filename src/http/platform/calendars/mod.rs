//! Calendars and their bookings: read, cancelled, and given an address for calendar programs.

mod validate;
pub(in crate::http) mod wire;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{BookingOut, BookingsQuery, CalendarOut};
use super::cursor::{booking_cursor, calendar_cursor, decode_booking_cursor, decode_calendar_cursor, limit};
use super::wire::{PageOut, PageQuery};
use crate::domain::calendar::Calendar;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{ConfigWrite, NestedPathParams, PathParam, QueryParams, Read};
use crate::http::openapi::{
    BookingNotFound, BookingPage, CalendarNotFound, CalendarPage, CalendarUnavailable, ConfigErrors,
    ConversationNotFound, OneBooking, OneCalendar, QueryErrors, ReadErrors,
};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::calendars;

type ApiResult = Result<Response, ApiError<Platform>>;

/// The routes of calendars.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(list_bookings))
        .routes(routes!(read_booking))
        .routes(routes!(cancel_booking))
        .routes(routes!(renew_link, remove_link))
}

fn calendar(state: &AppState, message: &str, calendar: &Calendar) -> Response {
    success(message, &CalendarOut::new(calendar, &state.public_url))
}

/// List calendars, the oldest first.
#[utoipa::path(
    get, path = "/calendars", tag = "platform", operation_id = "listCalendars",
    security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = CalendarPage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = decode_calendar_cursor(query.cursor.as_deref())?;
    let page = calendars::list(&state.services, &account, after, limit).await?;
    let items: Vec<_> =
        page.items.iter().map(|calendar| CalendarOut::new(calendar, &state.public_url)).collect();
    let data = PageOut { items, next_cursor: page.next.map(calendar_cursor) };
    Ok(success("Calendars retrieved successfully.", &data))
}

/// Read a calendar: its rules, and its address for calendar programs if it has one.
#[utoipa::path(
    get, path = "/calendars/{id}", tag = "platform", operation_id = "readCalendar",
    security(("bearer" = [])), params(("id" = String, Path, description = "cal_…")),
    responses((status = 200, description = "The calendar", body = OneCalendar), ReadErrors, CalendarNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let found = calendars::find(&state.services, &account, &name).await?;
    Ok(calendar(&state, "Calendar retrieved successfully.", &found))
}

/// List a calendar's bookings, in order of their start.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings", tag = "platform", operation_id = "listBookings",
    security(("bearer" = [])), params(("id" = String, Path, description = "cal_…"), BookingsQuery),
    responses((status = 200, description = "A page", body = BookingPage), ReadErrors, QueryErrors, CalendarNotFound, ConversationNotFound),
)]
pub(super) async fn list_bookings(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<BookingsQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = validate::bookings(&query)?;
    filter.after = decode_booking_cursor(query.cursor.as_deref())?;
    let (calendar, page) = calendars::list_bookings(&state.services, &account, &name, filter, limit).await?;
    let items: Vec<_> = page.items.iter().map(|booking| BookingOut::new(booking, &calendar)).collect();
    let data = PageOut { items, next_cursor: page.next.map(booking_cursor) };
    Ok(success("Bookings retrieved successfully.", &data))
}

/// Read a booking.
#[utoipa::path(
    get, path = "/calendars/{id}/bookings/{booking_id}", tag = "platform", operation_id = "readBooking",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "cal_…"), ("booking_id" = String, Path, description = "bkg_…")),
    responses((status = 200, description = "The booking", body = OneBooking), ReadErrors, CalendarNotFound, BookingNotFound),
)]
pub(super) async fn read_booking(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    NestedPathParams(calendar, name): NestedPathParams,
) -> ApiResult {
    let (calendar, booking) = calendars::find_booking(&state.services, &account, &calendar, &name).await?;
    Ok(success("Booking retrieved successfully.", &BookingOut::new(&booking, &calendar)))
}

/// Cancel a booking, whichever conversation made it. One that is cancelled stays as it is.
#[utoipa::path(
    post, path = "/calendars/{id}/bookings/{booking_id}/cancel", tag = "platform",
    operation_id = "cancelBooking", security(("bearer" = [])),
    params(("id" = String, Path, description = "cal_…"), ("booking_id" = String, Path, description = "bkg_…")),
    responses((status = 200, description = "The booking as it now is", body = OneBooking), ConfigErrors, CalendarNotFound, BookingNotFound, CalendarUnavailable),
)]
pub(super) async fn cancel_booking(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NestedPathParams(calendar, name): NestedPathParams,
) -> ApiResult {
    let (calendar, booking) = calendars::cancel_booking(&state.services, &account, &calendar, &name).await?;
    Ok(success("Booking cancelled successfully.", &BookingOut::new(&booking, &calendar)))
}

/// Give a calendar an address at which calendar programs read its bookings, or a new one: the one that it
/// had is then unknown.
#[utoipa::path(
    post, path = "/calendars/{id}/ics_link", tag = "platform", operation_id = "renewCalendarLink",
    security(("bearer" = [])), params(("id" = String, Path, description = "cal_…")),
    responses((status = 200, description = "The calendar with its new address", body = OneCalendar), ConfigErrors, CalendarNotFound),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let linked = calendars::renew_link(&state.services, &account, &name).await?;
    Ok(calendar(&state, "Calendar link renewed successfully.", &linked))
}

/// Take a calendar's address for calendar programs from it.
#[utoipa::path(
    delete, path = "/calendars/{id}/ics_link", tag = "platform", operation_id = "removeCalendarLink",
    security(("bearer" = [])), params(("id" = String, Path, description = "cal_…")),
    responses((status = 200, description = "The calendar without an address", body = OneCalendar), ConfigErrors, CalendarNotFound),
)]
pub(super) async fn remove_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let unlinked = calendars::remove_link(&state.services, &account, &name).await?;
    Ok(calendar(&state, "Calendar link removed successfully.", &unlinked))
}
