//! Whether an appointment may be booked: the decision that is taken under the calendar's lock.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::arguments::BookingRequest;
use super::grid::{open_times, slots_on};
use super::interval::{BusyTimes, Interval, shifted};
use super::moment::{label, read_moment};
use super::results::Refusal;
use super::rules::CalendarRules;
use super::search::{Days, Search, later};

/// The slot to book, or why not and what else is free.
///
/// `busy` holds at least what overlaps [`booking_range`], read under the calendar's lock.
pub fn decide_booking(
    rules: &CalendarRules,
    request: &BookingRequest,
    busy: &[Interval],
    now: Timestamp,
) -> Result<Interval, Refusal> {
    let search = Search::new(rules, busy, now);
    let wanted = Wanted::read(rules, request, now);
    wanted.at.and_then(|at| slot_at(&search, at)).map_err(|error| {
        let days = Days::of_alternatives(rules, rules.zone.to_datetime(wanted.near).date(), now);
        Refusal::with_alternatives(error, &search, days, wanted.near)
    })
}

/// The time whose bookings [`decide_booking`] must be given: that of the slot and of its alternatives.
/// It has a day more, for the decision may be taken a moment later, and find that the horizon has moved.
pub fn booking_range(rules: &CalendarRules, request: &BookingRequest, now: Timestamp) -> Interval {
    let near = Wanted::read(rules, request, now).near;
    let days = Days::of_alternatives(rules, rules.zone.to_datetime(near).date(), now);
    Days { last: later(days.last, 1), ..days }.in_time(rules)
}

/// Whether what is busy bears on a slot, its buffer included.
pub fn is_taken(rules: &CalendarRules, slot: Interval, busy: &[Interval]) -> bool {
    BusyTimes::of(busy).overlaps(guarded(rules, slot))
}

/// A slot with its buffer: what is busy then bears on it.
pub fn guarded(rules: &CalendarRules, slot: Interval) -> Interval {
    slot.widened(rules.buffer)
}

/// The moment that was asked for, and one near which to look for others.
struct Wanted {
    at: Result<Timestamp, String>,
    near: Timestamp,
}

impl Wanted {
    fn read(rules: &CalendarRules, request: &BookingRequest, now: Timestamp) -> Self {
        match read_moment(&request.datetime, &rules.zone) {
            Ok(at) => Self { at: Ok(at), near: at },
            Err(misread) => {
                let noon = misread.date.and_then(|date| rules.zone.to_timestamp(date.at(12, 0, 0, 0)).ok());
                Self { at: Err(misread.problem), near: noon.unwrap_or(now) }
            }
        }
    }
}

fn slot_at(search: &Search<'_>, at: Timestamp) -> Result<Interval, String> {
    check_distance(search, at)?;
    let slot = find_in_grid(search.rules, at)?;
    check_busy(search, slot)?;
    Ok(slot)
}

/// Neither past nor too soon, nor beyond the horizon.
fn check_distance(search: &Search<'_>, at: Timestamp) -> Result<(), String> {
    let (rules, now) = (search.rules, search.now);
    let shown = label(at, &rules.zone);
    if at < now {
        let present = label(now, &rules.zone);
        return Err(format!("{shown} is in the past: it is {present} now in {}", rules.time_zone()));
    }
    let soonest = shifted(now, rules.minimum_notice);
    if at < soonest {
        return Err(format!(
            "{shown} is too soon: appointments need {} minutes' notice, so {} is the earliest",
            rules.minimum_notice.as_mins(),
            label(next_minute(soonest), &rules.zone)
        ));
    }
    let horizon = Days::bookable(rules, now).last;
    if rules.zone.to_datetime(at).date() > horizon {
        return Err(format!("{shown} is too far ahead: appointments can be booked up to {horizon}"));
    }
    Ok(())
}

/// Rounded up, for a label has no seconds: what it names must not be too soon itself.
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
    let shown = label(at, &rules.zone);
    if !open_times(rules, date).iter().any(|open| open.contains(at)) {
        let hours: Vec<String> = windows.iter().map(ToString::to_string).collect();
        return Err(format!("{shown} is outside the hours of that day: {}", hours.join(", ")));
    }
    let before = slots.iter().rev().find(|slot| slot.start < at);
    let after = slots.iter().find(|slot| slot.start > at);
    let around: Vec<String> =
        before.into_iter().chain(after).map(|slot| label(slot.start, &rules.zone)).collect();
    if around.is_empty() {
        return Err(format!("{shown} is not the start of an appointment"));
    }
    Err(format!("{shown} is not the start of an appointment; the nearest start at {}", around.join(" and ")))
}

fn check_busy(search: &Search<'_>, slot: Interval) -> Result<(), String> {
    let shown = label(slot.start, &search.rules.zone);
    let buffer = search.rules.buffer;
    if search.busy.overlaps(slot) {
        return Err(format!("{shown} is already taken"));
    }
    if search.busy.overlaps(slot.widened(buffer)) {
        let minutes = buffer.as_mins();
        return Err(format!(
            "{shown} is too close to another appointment: {minutes} minutes are kept free around each"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
