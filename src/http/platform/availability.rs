//! The free slots of a calendar.

use std::time::Duration;

use axum::extract::State;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::list::InvalidQuery;
use super::{Answer, ReadErrors};
use crate::domain::calendar::{Availability, Calendar, Interval, rfc3339};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::CalendarId;
use crate::domain::render::Success;
use crate::http::describe::{NotFound, Overloaded, error_sets};
use crate::http::envelope::Platform;
use crate::http::extract::{PathParam, QueryParams, Read};
use crate::http::fields::Violation;
use crate::http::state::AppState;
use crate::service::calendars;

/// The query for free slots.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AvailabilityQuery {
    /// The first day, in the calendar's time zone.
    #[param(format = Date, required, example = "2026-03-16")]
    from: Option<String>,
    /// The last day, which is included; that of `from` by default.
    #[param(format = Date, example = "2026-03-20")]
    to: Option<String>,
}

fn days(query: &AvailabilityQuery) -> Result<(Date, Date), Error> {
    let from =
        day("from", query.from.as_deref())?.ok_or_else(|| Violation::Missing.of::<Platform>("from"))?;
    let to = day("to", query.to.as_deref())?.unwrap_or(from);
    if to < from {
        return Err(Violation::rule("must not be before 'from'").of::<Platform>("to"));
    }
    Ok((from, to))
}

fn day(field: &'static str, text: Option<&str>) -> Result<Option<Date>, Error> {
    let rule = || Violation::rule("must be a date such as 2026-03-15").of::<Platform>(field);
    text.map(|text| Date::strptime("%Y-%m-%d", text).map_err(|_| rule())).transpose()
}

error_sets! {
    /// The CalDAV server of a calendar.
    CalendarUnreadable {
        "The CalDAV server of the calendar cannot be read" => Error::Conflict(
            "The calendar cannot be read at the moment. Please retry.".to_owned(),
        ),
    }

    /// Requests that call a CalDAV server have a limit of concurrent calls.
    TooManyCaldavRequests {
        "Too many requests to CalDAV servers are running; see Retry-After" => Error::Overloaded {
            text: "Too many requests to CalDAV servers are running",
            retry_after: Duration::from_secs(5),
        },
    }
}

/// The free slots of a calendar.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Availability)]
pub(super) struct AvailabilityOut {
    /// In ascending order: at most 200, of at most 31 days.
    slots: Vec<SlotOut>,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Whether later days or slots are left out.
    #[schema(example = false)]
    truncated: bool,
}

/// A free slot. Its `start` can be booked as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slot)]
pub(super) struct SlotOut {
    /// In the calendar's time zone.
    #[schema(format = DateTime, example = "2026-03-16T14:00:00+01:00")]
    start: String,
    #[schema(format = DateTime, example = "2026-03-16T14:30:00+01:00")]
    end: String,
    /// In UTC.
    #[schema(format = DateTime, example = "2026-03-16T13:00:00Z")]
    starts_at: String,
    #[schema(format = DateTime, example = "2026-03-16T13:30:00Z")]
    ends_at: String,
}

impl AvailabilityOut {
    fn new(calendar: &Calendar, free: &Availability) -> Self {
        let zone = calendar.rules.zone();
        let slot = |slot: &Interval| SlotOut {
            start: rfc3339(slot.start, zone),
            end: rfc3339(slot.end, zone),
            starts_at: Micros::from(slot.start).to_string(),
            ends_at: Micros::from(slot.end).to_string(),
        };
        Self {
            slots: free.slots.iter().map(slot).collect(),
            time_zone: calendar.rules.time_zone().to_owned(),
            truncated: free.truncated,
        }
    }
}

/// List a calendar's free slots.
///
/// They are those that its tools offer at this moment. Days that cannot be booked have none.
#[utoipa::path(
    get, path = "/calendars/{id}/availability", tag = "platform", operation_id = "listFreeSlots",
    security(("bearer" = ["read"])), params(("id" = inline(CalendarId), Path, description = "cal_…"), AvailabilityQuery),
    responses((status = 200, description = "The free slots", body = Success<AvailabilityOut>), ReadErrors<(InvalidQuery, NotFound<CalendarId>, Overloaded, TooManyCaldavRequests, CalendarUnreadable)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<AvailabilityQuery>,
) -> Answer<AvailabilityOut> {
    let (calendar, free) =
        calendars::list_free_slots(&state.services, &account, &name, days(&query)?).await?;
    let slots = AvailabilityOut::new(&calendar, &free);
    Ok(Success::new("Free slots retrieved successfully.", slots))
}
