//! Calendars: listed, read, and linked to calendar programs.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::calendar::{Calendar, CalendarSource, HoursIn};
use crate::domain::ids::CalendarId;
use crate::domain::render::Success;
use crate::domain::schema::Date;
use crate::http::describe::NotFound;
use crate::http::extract::{ConfigWrite, PathParam, QueryParams, Read};
use crate::http::pages::calendar_file;
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::calendars;
use crate::service::resources;

type CalendarCursor = Cursor<CalendarId, 'a'>;

/// A calendar.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CalendarOut {
    id: CalendarId,
    /// Its name in the workspace file.
    #[schema(example = "demos")]
    slug: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    #[schema(example = 30)]
    slot_minutes: u32,
    #[schema(example = 0)]
    buffer_minutes: u32,
    #[schema(example = 120)]
    minimum_notice_minutes: u32,
    #[schema(example = 60)]
    horizon_days: u32,
    hours: HoursOut,
    /// Days without any appointment.
    #[schema(value_type = Vec<Date>, example = json!(["2026-12-25"]))]
    holidays: Vec<String>,
    /// How often one conversation may book, cancelled bookings included.
    #[schema(example = 10)]
    bookings_per_conversation: u32,
    /// The number of bookings that are made on one day (UTC), cancelled ones included.
    #[schema(example = 100)]
    bookings_per_day: u32,
    /// `here`, or `caldav` if its appointments are on a CalDAV server.
    source: CalendarSource,
    /// The calendar's address on that server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    caldav_url: Option<String>,
    /// Whether it has an iCalendar URL.
    ics_linked: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
}

/// A calendar with its new iCalendar URL, which is only returned once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkedCalendarOut {
    #[serde(flatten)]
    #[schema(inline)]
    calendar: CalendarOut,
    /// The URL at which calendar programs read its bookings. It is the only credential.
    #[schema(
        format = "uri",
        example = "http://127.0.0.1:8080/calendars/7c9e6679742540de944be07fc1f90ae7.ics"
    )]
    ics_url: String,
}

/// Opening hours by day of the week.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"mon": ["09:00-12:00", "13:00-17:00"], "tue": [], "wed": [], "thu": [], "fri": [], "sat": [], "sun": []}))]
pub(super) struct HoursOut {
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

impl From<&Calendar> for CalendarOut {
    fn from(calendar: &Calendar) -> Self {
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
            bookings_per_conversation: calendar.rules.bookings_per_conversation(),
            bookings_per_day: calendar.rules.bookings_per_day(),
            source: if calendar.caldav.is_some() { CalendarSource::Caldav } else { CalendarSource::Here },
            caldav_url: calendar.caldav.as_ref().map(|caldav| caldav.url.clone()),
            ics_linked: calendar.link.is_some(),
            created_at: calendar.created_at.to_string(),
        }
    }
}

/// List calendars.
///
/// The oldest comes first.
#[utoipa::path(
    get, path = "/calendars", tag = "platform", operation_id = "listCalendars",
    security(("bearer" = ["read"])), params(PageParams::<CalendarCursor>),
    responses((status = 200, description = "A page", body = Success<Page<CalendarOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<CalendarOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = CalendarCursor::decode(query.cursor.as_deref())?;
    let page = resources::list::<Calendar>(&state.services, &account, after, limit).await?;
    let calendars = Page::new(&page.items, page.next.map(CalendarCursor::encode));
    Ok(Success::new("Calendars retrieved successfully.", calendars))
}

/// Read a calendar.
///
/// The response has its rules, and whether it has an iCalendar URL.
#[utoipa::path(
    get, path = "/calendars/{id}", tag = "platform", operation_id = "readCalendar",
    security(("bearer" = ["read"])), params(("id" = inline(CalendarId), Path, description = "cal_…")),
    responses((status = 200, description = "The calendar", body = Success<CalendarOut>), ReadErrors<NotFound<CalendarId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<CalendarOut> {
    let found = resources::find::<Calendar>(&state.services, &account, &name).await?;
    Ok(Success::new("Calendar retrieved successfully.", CalendarOut::from(&found)))
}

/// Renew a calendar's iCalendar URL.
///
/// It is only returned in this response. Calendar programs read its bookings there. The previous URL stops working.
#[utoipa::path(
    post, path = "/calendars/{id}/ics_link", tag = "platform", operation_id = "renewCalendarLink",
    security(("bearer" = ["config"])), params(("id" = inline(CalendarId), Path, description = "cal_…")),
    responses((status = 200, description = "The calendar, with its new URL", body = Success<LinkedCalendarOut>), ConfigErrors<NotFound<CalendarId>>),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
) -> Answer<LinkedCalendarOut> {
    let (calendar, token) = calendars::renew_link(&state.services, &account, &name).await?;
    let ics_url = calendar_file::url(&state.public_url, token);
    let linked = LinkedCalendarOut { calendar: CalendarOut::from(&calendar), ics_url };
    Ok(Success::new("Calendar link renewed successfully.", linked))
}

/// Remove a calendar's iCalendar URL.
#[utoipa::path(
    delete, path = "/calendars/{id}/ics_link", tag = "platform", operation_id = "removeCalendarLink",
    security(("bearer" = ["config"])), params(("id" = inline(CalendarId), Path, description = "cal_…")),
    responses((status = 200, description = "The calendar without a URL", body = Success<CalendarOut>), ConfigErrors<NotFound<CalendarId>>),
)]
pub(super) async fn remove_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
) -> Answer<CalendarOut> {
    let unlinked = calendars::remove_link(&state.services, &account, &name).await?;
    Ok(Success::new("Calendar link removed successfully.", CalendarOut::from(&unlinked)))
}
