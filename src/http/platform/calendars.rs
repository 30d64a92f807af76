//! Calendars: configured, read, and linked to calendar programs.

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, json};
use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat, Type};

use super::knowledge_bases::Slug;
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use super::webhook_endpoints::SecretsNotConfigured;
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::calendar::{
    CaldavPatch, Calendar, CalendarRulesIn, CalendarRulesPatch, CalendarSource, HoursIn, MAX_HOLIDAYS,
    MAX_URL, MAX_USERNAME, MAX_WINDOWS,
};
use crate::domain::error::Error;
use crate::domain::ids::CalendarId;
use crate::domain::render::Success;
use crate::domain::schema::{BLANK, Date, formatted, pattern};
use crate::http::describe::{ManagedByFile, NotFound, error_sets};
use crate::http::extract::{ConfigWrite, Input, NoInput, PathParam, QueryParams, Read};
use crate::http::fields::{AnyText, FieldType, Integer, Violation, nested, request, strings};
use crate::http::pages::calendar_file;
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::calendars::{self, CreateCalendar, UpdateCalendar};
use crate::service::resources;

type CalendarCursor = Cursor<CalendarId, 'a'>;

/// A calendar.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Calendar)]
pub(super) struct CalendarOut {
    id: CalendarId,
    /// Its name in the workspace file, or the one that it was created with.
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
    /// That server.
    #[serde(skip_serializing_if = "Option::is_none")]
    caldav: Option<CaldavOut>,
    /// Whether it has an iCalendar URL.
    ics_linked: bool,
    /// Whether a workspace file manages it; if so, it can only be changed there.
    #[schema(example = false)]
    from_file: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
}

/// The CalDAV server of a calendar.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CaldavServer)]
pub(super) struct CaldavOut {
    /// The calendar's address on the server.
    #[schema(format = "uri", example = "https://dav.example/calendars/me/demos/")]
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "me")]
    username: Option<String>,
    /// Whether a password is stored, which is never returned.
    #[schema(example = true)]
    has_password: bool,
}

/// A calendar with its new iCalendar URL, which is only returned once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LinkedCalendar)]
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
#[schema(as = OpeningHours)]
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
            caldav: calendar.caldav.as_deref().map(|caldav| CaldavOut {
                url: caldav.url.clone(),
                username: caldav.username.clone(),
                has_password: caldav.password.is_some(),
            }),
            ics_linked: calendar.link.is_some(),
            from_file: calendar.from_file,
            created_at: calendar.created_at.to_string(),
        }
    }
}

/// A time zone of the IANA database. The calendar checks its name.
#[derive(Debug)]
pub(super) enum TimeZone {}

impl FieldType for TimeZone {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        AnyText::check(raw)
    }

    fn schema() -> Schema {
        formatted("time-zone").into()
    }
}

/// Windows of opening hours by weekday.
#[derive(Debug)]
pub(super) enum Hours {}

impl FieldType for Hours {
    type Value = HoursIn;

    fn check(raw: &RawValue) -> Result<Option<HoursIn>, Violation> {
        nested(raw).map(Some)
    }

    fn schema() -> Schema {
        let windows = || ArrayBuilder::new().items(formatted("opening-hours")).max_items(Some(MAX_WINDOWS));
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let object = days.into_iter().fold(ObjectBuilder::new().schema_type(Type::Object), |object, day| {
            object.property(day, windows().unique_items(true))
        });
        // Some day has a window.
        let none = days.map(|day| (day.to_owned(), json!({ "maxItems": 0 })));
        let none = json!({ "properties": Map::from_iter(none) });
        let object = object.extensions(Some(Extensions::from_iter([("not", none)])));
        object.additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into()
    }
}

/// Days without appointments.
#[derive(Debug)]
pub(super) enum Dates {}

impl FieldType for Dates {
    type Value = Vec<String>;

    fn check(raw: &RawValue) -> Result<Option<Vec<String>>, Violation> {
        strings(raw).map(Some)
    }

    fn schema() -> Schema {
        let date = ObjectBuilder::new().schema_type(Type::String);
        let date = date.format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))).build();
        let dates = ArrayBuilder::new().items(RefOr::T(Schema::from(date)));
        dates.max_items(Some(MAX_HOLIDAYS)).build().into()
    }
}

/// The CalDAV server of a new calendar.
#[derive(Debug)]
pub(super) enum Caldav {}

impl FieldType for Caldav {
    type Value = CaldavPatch;

    fn check(raw: &RawValue) -> Result<Option<CaldavPatch>, Violation> {
        nested(raw).map(Some)
    }

    fn schema() -> Schema {
        let together = json!({ "username": ["password"], "password": ["username"] });
        let together = Extensions::from_iter([("dependentRequired", together)]);
        caldav_schema().required("url").extensions(Some(together)).build().into()
    }
}

/// Changes to the CalDAV server of a calendar.
#[derive(Debug)]
pub(super) enum CaldavChange {}

impl FieldType for CaldavChange {
    type Value = CaldavPatch;

    fn check(raw: &RawValue) -> Result<Option<CaldavPatch>, Violation> {
        nested(raw).map(Some)
    }

    fn cleared() -> Option<CaldavPatch> {
        Some(CaldavPatch::default())
    }

    fn schema() -> Schema {
        caldav_schema().build().into()
    }
}

fn caldav_schema() -> ObjectBuilder {
    let password = pattern(r"^[^\u0000]*$").format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)));
    let allowed = r"^:\u0000-\u001f\u007f-\u009f";
    let username = format!("^[{allowed}]*[{allowed}{BLANK}][{allowed}]*$");
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("url", formatted("uri").max_length(Some(MAX_URL)))
        .property("username", pattern(username).max_length(Some(MAX_USERNAME)))
        .property("password", password.write_only(true).min_length(Some(4)))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

request! {
    /// A new calendar, with the fields of the workspace file's `[[calendars]]`.
    pub(super) struct CalendarIn as NewCalendar {
        /// Lower-case letters, digits, hyphens and underscores. It cannot be changed later.
        slug: Slug = "sales",
        /// An IANA name.
        time_zone: TimeZone = "Europe/Berlin",
        /// Windows of opening hours in local time, by weekday; a day without any is closed.
        hours: Hours = {"mon": ["09:00-12:00", "13:00-17:00"], "fri": ["20:00-24:00"]},
        /// The length of an appointment; 30 by default.
        slot_minutes: Option<Integer<u32, 1, 1440>> = 30,
        /// The time that is kept free before and after each appointment; 0 by default.
        buffer_minutes: Option<Integer<u32, 0, 1440>> = 10,
        /// The minimum time between now and an appointment's start; 0 by default.
        minimum_notice_minutes: Option<Integer<u32, 0, 525_600>> = 120,
        /// The number of days after today that can be booked; 60 by default.
        horizon_days: Option<Integer<u32, 1, 3650>> = 60,
        /// Days without any appointment: at most 1,000.
        holidays: Option<Dates> = ["2026-12-25"],
        /// How often one conversation may book, cancelled bookings included; 10 by default.
        bookings_per_conversation: Option<Integer<u32, 1, 10_000>> = 10,
        /// The number of bookings that are made on one day (UTC), cancelled ones included; 100 by default.
        bookings_per_day: Option<Integer<u32, 1, 100_000>> = 100,
        /// The CalDAV server that stores the appointments: its `url`, and a `username` and a `password` if it needs them. The password
        /// is stored encrypted and never returned. By default, appointments are stored here.
        caldav: Option<Caldav>,
    }
}

request! {
    /// Changes to a calendar. Absent fields stay.
    pub(super) struct CalendarUpdateIn as CalendarUpdate update {
        time_zone: Option<TimeZone> = "Europe/Berlin",
        /// Replaces the windows of all days.
        hours: Option<Hours> = {"mon": ["09:00-12:00"]},
        slot_minutes: Option<Integer<u32, 1, 1440>>,
        buffer_minutes: Option<Integer<u32, 0, 1440>>,
        minimum_notice_minutes: Option<Integer<u32, 0, 525_600>>,
        horizon_days: Option<Integer<u32, 1, 3650>>,
        /// Replaces all of them.
        holidays: Option<Dates>,
        bookings_per_conversation: Option<Integer<u32, 1, 10_000>>,
        bookings_per_day: Option<Integer<u32, 1, 100_000>>,
        /// Fields that are left out stay, also the password, unless the host or the username changes. `null` or an empty
        /// object removes the server: appointments are then stored here.
        caldav: Option<CaldavChange>,
    }
}

impl From<CalendarIn> for CreateCalendar {
    fn from(input: CalendarIn) -> Self {
        let defaults = CalendarRulesIn::new(input.time_zone, input.hours);
        Self {
            slug: input.slug,
            rules: CalendarRulesIn {
                slot_minutes: input.slot_minutes.unwrap_or(defaults.slot_minutes),
                buffer_minutes: input.buffer_minutes.unwrap_or(defaults.buffer_minutes),
                minimum_notice_minutes: input
                    .minimum_notice_minutes
                    .unwrap_or(defaults.minimum_notice_minutes),
                horizon_days: input.horizon_days.unwrap_or(defaults.horizon_days),
                holidays: input.holidays.unwrap_or_default(),
                bookings_per_conversation: input.bookings_per_conversation,
                bookings_per_day: input.bookings_per_day,
                ..defaults
            },
            caldav: input.caldav,
        }
    }
}

impl From<CalendarUpdateIn> for UpdateCalendar {
    fn from(input: CalendarUpdateIn) -> Self {
        let rules = CalendarRulesPatch {
            time_zone: input.time_zone,
            slot_minutes: input.slot_minutes,
            buffer_minutes: input.buffer_minutes,
            minimum_notice_minutes: input.minimum_notice_minutes,
            horizon_days: input.horizon_days,
            hours: input.hours,
            holidays: input.holidays,
            bookings_per_conversation: input.bookings_per_conversation,
            bookings_per_day: input.bookings_per_day,
        };
        Self { rules, caldav: input.caldav }
    }
}

error_sets! {
    /// A calendar that tools use.
    CalendarInUse {
        "Tools use the calendar" => Error::Conflict(
            "The calendar 'demos' is used by these tools: 'book'. Archive them first.".to_owned(),
        ),
    }
}

/// Create a calendar.
///
/// A calendar that was archived through the API and has this slug is restored, with its id, its bookings and the new settings.
#[utoipa::path(
    post, path = "/calendars", tag = "platform", operation_id = "createCalendar",
    security(("bearer" = ["config"])), request_body = CalendarIn,
    responses((status = 200, description = "The calendar", body = Success<CalendarOut>), ConfigErrors<(Input<CalendarIn>, SecretsNotConfigured, ManagedByFile)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    Input { value: input, .. }: Input<CalendarIn>,
) -> Answer<CalendarOut> {
    let created = calendars::create(&state.services, &account, input.into()).await?;
    Ok(Success::new("Calendar created successfully.", CalendarOut::from(&created)))
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
    let (calendars, next) = CalendarCursor::read_page::<Calendar>(&state.services, &account, &query).await?;
    Ok(Success::new("Calendars retrieved successfully.", Page::new(&calendars, next)))
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

/// Update a calendar.
///
/// The assistants whose tools use it follow its new rules from their next turn. Its bookings do not change.
#[utoipa::path(
    patch, path = "/calendars/{id}", tag = "platform", operation_id = "updateCalendar",
    security(("bearer" = ["config"])), params(("id" = inline(CalendarId), Path, description = "cal_…")), request_body = CalendarUpdateIn,
    responses((status = 200, description = "The calendar after the change", body = Success<CalendarOut>), ConfigErrors<(Input<CalendarUpdateIn>, SecretsNotConfigured, NotFound<CalendarId>, ManagedByFile)>),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    Input { value: input, .. }: Input<CalendarUpdateIn>,
) -> Answer<CalendarOut> {
    let updated = calendars::update(&state.services, &account, &name, input.into()).await?;
    Ok(Success::new("Calendar updated successfully.", CalendarOut::from(&updated)))
}

/// Archive a calendar.
///
/// It is not found any more, its iCalendar URL stops working, and its bookings are kept. A calendar that tools use cannot be archived.
#[utoipa::path(
    delete, path = "/calendars/{id}", tag = "platform", operation_id = "archiveCalendar",
    security(("bearer" = ["config"])), params(("id" = inline(CalendarId), Path, description = "cal_…")),
    responses((status = 200, description = "The calendar as it was", body = Success<CalendarOut>), ConfigErrors<(NoInput, NotFound<CalendarId>, ManagedByFile, CalendarInUse)>),
)]
pub(super) async fn archive(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<CalendarOut> {
    let archived = calendars::archive(&state.services, &account, &name).await?;
    Ok(Success::new("Calendar archived successfully.", CalendarOut::from(&archived)))
}

/// Renew a calendar's iCalendar URL.
///
/// It is only returned in this response. Calendar programs read its bookings there. The previous URL stops working.
#[utoipa::path(
    post, path = "/calendars/{id}/ics_link", tag = "platform", operation_id = "renewCalendarLink",
    security(("bearer" = ["config"])), params(("id" = inline(CalendarId), Path, description = "cal_…")),
    responses((status = 200, description = "The calendar, with its new URL", body = Success<LinkedCalendarOut>), ConfigErrors<(NoInput, NotFound<CalendarId>)>),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
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
    responses((status = 200, description = "The calendar without a URL", body = Success<CalendarOut>), ConfigErrors<(NoInput, NotFound<CalendarId>)>),
)]
pub(super) async fn remove_link(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<CalendarOut> {
    let unlinked = calendars::remove_link(&state.services, &account, &name).await?;
    Ok(Success::new("Calendar link removed successfully.", CalendarOut::from(&unlinked)))
}
