//! Decides, under the calendar's lock, whether an appointment may be booked.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::arguments::BookingRequest;
use super::booking_write::BookingCounts;
use super::datetime::{label, parse_datetime};
use super::grid::{open_times, slots_on};
use super::interval::{BusyTimes, Interval, saturating_add};
use super::results::Refusal;
use super::rules::CalendarRules;
use super::search::{Days, SlotSearch, add_days};

/// The slot to book, or a refusal with the reason and free alternatives.
///
/// `busy` must contain everything that overlaps [`booking_range`], read under the calendar's lock.
pub fn decide_booking(
    rules: &CalendarRules,
    request: &BookingRequest,
    busy: &[Interval],
    now: Timestamp,
) -> Result<Interval, Refusal> {
    let search = SlotSearch::new(rules, busy, now);
    let requested = RequestedTime::read(rules, request, now);
    requested.at.and_then(|at| slot_at(&search, at)).map_err(|error| {
        let days = Days::for_alternatives(rules, rules.zone.to_datetime(requested.near).date(), now);
        Refusal::with_alternatives(error, &search, days, requested.near)
    })
}

/// Refuses another booking if as many were made as the rules allow. Without a bound, one visitor could fill the calendar.
pub fn check_booking_counts(rules: &CalendarRules, counts: BookingCounts) -> Result<(), Refusal> {
    let max = rules.bookings_per_conversation();
    if counts.conversation >= i64::from(max) {
        let error = format!(
            "no more appointments can be booked in this conversation: it has booked {max}, cancelled ones included"
        );
        return Err(Refusal::new(error));
    }
    let max = rules.bookings_per_day();
    if counts.day >= i64::from(max) {
        let error = format!(
            "no more appointments can be booked today: the calendar takes {max} bookings a day; ask the visitor to come \
             back tomorrow"
        );
        return Err(Refusal::new(error));
    }
    Ok(())
}

/// The time range for which [`decide_booking`] needs the bookings: the slot and its alternatives. It includes
/// one more day, because the horizon moves if midnight passes before the decision.
pub fn booking_range(rules: &CalendarRules, request: &BookingRequest, now: Timestamp) -> Interval {
    let near = RequestedTime::read(rules, request, now).near;
    let days = Days::for_alternatives(rules, rules.zone.to_datetime(near).date(), now);
    Days { last: add_days(days.last, 1), ..days }.to_interval(rules)
}

/// Whether a busy time overlaps the slot or its buffer.
pub fn has_conflict(rules: &CalendarRules, slot: Interval, busy: &[Interval]) -> bool {
    BusyTimes::new(busy).overlaps(with_buffer(rules, slot))
}

/// The slot extended by its buffer. A busy time within it blocks the slot.
pub fn with_buffer(rules: &CalendarRules, slot: Interval) -> Interval {
    slot.pad(rules.buffer)
}

/// The requested time, and the time near which alternatives are searched.
struct RequestedTime {
    at: Result<Timestamp, String>,
    near: Timestamp,
}

impl RequestedTime {
    fn read(rules: &CalendarRules, request: &BookingRequest, now: Timestamp) -> Self {
        match parse_datetime(&request.start, &rules.zone) {
            Ok(at) => Self { at: Ok(at), near: at },
            Err(error) => {
                let noon = error.date.and_then(|date| rules.zone.to_timestamp(date.at(12, 0, 0, 0)).ok());
                Self { at: Err(error.problem), near: noon.unwrap_or(now) }
            }
        }
    }
}

fn slot_at(search: &SlotSearch<'_>, at: Timestamp) -> Result<Interval, String> {
    check_distance(search, at)?;
    let slot = find_in_grid(search.rules, at)?;
    check_busy(search, slot)?;
    Ok(slot)
}

/// Refuses a time in the past, within the minimum notice, or beyond the horizon.
fn check_distance(search: &SlotSearch<'_>, at: Timestamp) -> Result<(), String> {
    let (rules, now) = (search.rules, search.now);
    let time = label(at, &rules.zone);
    if at < now {
        let current = label(now, &rules.zone);
        return Err(format!("{time} is in the past: it is {current} now in {}", rules.time_zone()));
    }
    let soonest = saturating_add(now, rules.minimum_notice);
    if at < soonest {
        return Err(format!(
            "{time} is too soon: appointments need {} minutes' notice, so {} is the earliest",
            rules.minimum_notice.as_mins(),
            label(next_minute(soonest), &rules.zone)
        ));
    }
    let horizon = Days::bookable(rules, now).last;
    if rules.zone.to_datetime(at).date() > horizon {
        return Err(format!("{time} is too far ahead: appointments can be booked up to {horizon}"));
    }
    Ok(())
}

/// Rounded up, because labels have no seconds and the labelled time must not be too soon itself.
fn next_minute(instant: Timestamp) -> Timestamp {
    let up = TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Ceil);
    instant.round(up).unwrap_or(instant)
}

/// The slot of the grid that starts at `at`.
fn find_in_grid(rules: &CalendarRules, at: Timestamp) -> Result<Interval, String> {
    let date = rules.zone.to_datetime(at).date();
    let slots = slots_on(rules, date);
    if let Some(slot) = slots.iter().find(|slot| slot.start == at) {
        return Ok(*slot);
    }
    if rules.is_holiday(date) {
        return Err(format!("{date} is a holiday, without appointments"));
    }
    let windows = rules.windows(date.weekday());
    if windows.is_empty() {
        return Err(format!("there are no appointments on {}s", date.strftime("%A")));
    }
    let time = label(at, &rules.zone);
    if !open_times(rules, date).iter().any(|open| open.contains(at)) {
        let hours: Vec<String> = windows.iter().map(ToString::to_string).collect();
        return Err(format!("{time} is outside the hours of that day: {}", hours.join(", ")));
    }
    let before = slots.iter().rev().find(|slot| slot.start < at);
    let after = slots.iter().find(|slot| slot.start > at);
    let around: Vec<String> =
        before.into_iter().chain(after).map(|slot| label(slot.start, &rules.zone)).collect();
    if around.is_empty() {
        return Err(format!("{time} is not the start of an appointment"));
    }
    Err(format!("{time} is not the start of an appointment; the nearest start at {}", around.join(" and ")))
}

fn check_busy(search: &SlotSearch<'_>, slot: Interval) -> Result<(), String> {
    let time = label(slot.start, &search.rules.zone);
    let buffer = search.rules.buffer;
    if search.busy.overlaps(slot) {
        return Err(format!("{time} is already taken"));
    }
    if search.busy.overlaps(slot.pad(buffer)) {
        let minutes = buffer.as_mins();
        return Err(format!(
            "{time} is too close to another appointment: {minutes} minutes are kept free around each"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
