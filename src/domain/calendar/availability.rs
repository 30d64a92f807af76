//! The free times in a range of dates, for `check_calendar_availability` and for the API.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::arguments::AvailabilityRequest;
use super::datetime::{label, parse_date};
use super::interval::Interval;
use super::results::Refusal;
use super::rules::CalendarRules;
use super::search::{Days, SlotSearch, add_days};

/// Maximum number of days searched for one request; later days are omitted.
pub const MAX_DAYS: i64 = 31;
/// Maximum number of slots in one answer; later ones are omitted.
pub const MAX_SLOTS: usize = 200;

/// The free slots of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Availability {
    /// In ascending order.
    pub slots: Vec<Interval>,
    /// Whether days or slots were omitted because of the limits.
    pub truncated: bool,
    zone: TimeZone,
    time_zone: String,
}

impl Availability {
    /// The tool's result: `{available_slots, time_zone}`, with `truncated: true` if slots were omitted.
    pub fn to_result(&self) -> Value {
        let labels: Vec<String> = self.slots.iter().map(|slot| label(slot.start, &self.zone)).collect();
        let mut result = json!({ "available_slots": labels, "time_zone": self.time_zone });
        if self.truncated
            && let Some(fields) = result.as_object_mut()
        {
            fields.insert("truncated".to_owned(), Value::Bool(true));
        }
        result
    }
}

/// The free slots between two dates, both included. Days before today or beyond the horizon have none.
///
/// `busy` must contain everything that overlaps [`availability_range`]. A range without a bookable day is
/// refused.
pub fn find_availability(
    rules: &CalendarRules,
    request: &AvailabilityRequest,
    busy: &[Interval],
    now: Timestamp,
) -> Result<Availability, Refusal> {
    let search = SlotSearch::new(rules, busy, now);
    let parsed = parse_request(rules, request, now).map_err(|error| refuse(&search, error))?;
    Ok(list_free(&search, &parsed))
}

/// The free slots of the days from `first` to `last`, both included. Days that cannot be booked have none.
///
/// `busy` must contain everything that overlaps [`free_slots_range`].
pub fn free_slots(
    rules: &CalendarRules,
    (first, last): (Date, Date),
    busy: &[Interval],
    now: Timestamp,
) -> Availability {
    list_free(&SlotSearch::new(rules, busy, now), &bookable_days(rules, first, last, now))
}

/// The time range for which [`free_slots`] needs the bookings; none if no day can be booked.
pub fn free_slots_range(
    rules: &CalendarRules,
    (first, last): (Date, Date),
    now: Timestamp,
) -> Option<Interval> {
    let ParsedRequest { days, .. } = bookable_days(rules, first, last, now);
    (days.first <= days.last).then(|| days.to_interval(rules))
}

fn list_free(search: &SlotSearch<'_>, request: &ParsedRequest) -> Availability {
    let rules = search.rules;
    let mut slots: Vec<Interval> = search.free_slots(request.days).take(MAX_SLOTS + 1).collect();
    let truncated = request.truncated || slots.len() > MAX_SLOTS;
    slots.truncate(MAX_SLOTS);
    Availability { slots, truncated, zone: rules.zone.clone(), time_zone: rules.time_zone().to_owned() }
}

/// The time range for which [`find_availability`] needs the bookings.
pub fn availability_range(rules: &CalendarRules, request: &AvailabilityRequest, now: Timestamp) -> Interval {
    let days = match parse_request(rules, request, now) {
        Ok(parsed) => parsed.days,
        Err(error) => Days::for_alternatives(rules, error.near, now),
    };
    days.to_interval(rules)
}

struct ParsedRequest {
    days: Days,
    truncated: bool,
}

/// The reason for a refusal, and the requested day, near which alternatives are searched.
struct RequestError {
    message: String,
    near: Date,
}

fn parse_request(
    rules: &CalendarRules,
    request: &AvailabilityRequest,
    now: Timestamp,
) -> Result<ParsedRequest, RequestError> {
    let Days { first: today, last: horizon } = Days::bookable(rules, now);
    let near_today = |message: String| RequestError { message, near: today };
    let start = parse_date("start_date", &request.start_date).map_err(near_today)?;
    let end =
        parse_date("end_date", &request.end_date).map_err(|message| RequestError { message, near: start })?;
    if end < start {
        let message = format!("end_date {end} is before start_date {start}");
        return Err(RequestError { message, near: start });
    }
    if end < today {
        return Err(near_today(format!("{end} is in the past: today is {today}")));
    }
    if start > horizon {
        let message = format!("appointments can be booked up to {horizon}; {start} is later than that");
        return Err(RequestError { message, near: start });
    }
    Ok(bookable_days(rules, start, end, now))
}

/// The days of a range that can be booked, at most [`MAX_DAYS`]. None can be if the last is before the first.
fn bookable_days(rules: &CalendarRules, start: Date, end: Date, now: Timestamp) -> ParsedRequest {
    let Days { first: today, last: horizon } = Days::bookable(rules, now);
    let first = start.max(today);
    let requested = end.min(horizon);
    let last = requested.min(add_days(first, MAX_DAYS - 1));
    ParsedRequest { days: Days { first, last }, truncated: last < requested }
}

fn refuse(search: &SlotSearch<'_>, error: RequestError) -> Refusal {
    let days = Days::for_alternatives(search.rules, error.near, search.now);
    // The model may request a year outside the range of timestamps.
    let near = error.near.clamp(days.first, days.last);
    let target = search.rules.zone.to_timestamp(near.to_datetime(Time::midnight())).unwrap_or(search.now);
    Refusal::with_alternatives(error.message, search, days, target)
}

#[cfg(test)]
mod tests;
