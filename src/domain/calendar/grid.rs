//! The slots of one day according to the rules, regardless of bookings.
//!
//! A window is given in local time and divided into slots in elapsed time. On a day with a clock change, a window
//! may be longer or shorter than its local times suggest, or open twice.

use jiff::SignedDuration;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::interval::{Interval, saturating_add};
use super::rules::CalendarRules;
use super::window::Window;

/// Larger than any offset from UTC.
const MAX_OFFSET: SignedDuration = SignedDuration::from_hours(26);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// All slots on `date` in the calendar's zone, in order. Empty on holidays and closed days.
pub(super) fn slots_on(rules: &CalendarRules, date: Date) -> Vec<Interval> {
    open_times(rules, date).into_iter().flat_map(|open| split_into_slots(open, rules.slot)).collect()
}

/// The intervals in which the calendar is open on `date`, in order.
///
/// They contain exactly the instants whose local time is within a window: a skipped time does not exist, and a
/// repeated time is open twice.
pub(super) fn open_times(rules: &CalendarRules, date: Date) -> Vec<Interval> {
    let windows = rules.windows(date.weekday());
    if windows.is_empty() || rules.is_holiday(date) {
        return Vec::new();
    }
    let offsets = offsets_around(rules, date);
    let mut open: Vec<Interval> =
        windows.iter().flat_map(|window| window_intervals(*window, date, &offsets)).collect();
    // Two windows within the repeated hour alternate: both once, then both again.
    open.sort_unstable_by_key(|interval| interval.start);
    open
}

fn split_into_slots(open: Interval, slot: SignedDuration) -> impl Iterator<Item = Interval> {
    let from = move |start| Interval { start, end: saturating_add(start, slot) };
    std::iter::successors(Some(from(open.start)), move |last| Some(from(last.end)))
        .take_while(move |slot| slot.start < slot.end && slot.end <= open.end)
}

/// The UTC offsets around `date`, each with its period of validity; in order and without gaps.
fn offsets_around(rules: &CalendarRules, date: Date) -> Vec<(Interval, Offset)> {
    let Ok(midnight) = Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())) else {
        return Vec::new(); // The last day of the year 9999.
    };
    let until = saturating_add(midnight, DAY + MAX_OFFSET);
    let mut start = saturating_add(midnight, -MAX_OFFSET);
    let mut offset = rules.zone.to_offset(start);
    let mut offsets = Vec::new();
    for change in rules.zone.following(start).take_while(|change| change.timestamp() < until) {
        offsets.push((Interval { start, end: change.timestamp() }, offset));
        start = change.timestamp();
        offset = change.offset();
    }
    offsets.push((Interval { start, end: until }, offset));
    offsets
}

/// The instants whose local time is within `window` on `date`; adjacent intervals are merged.
fn window_intervals(window: Window, date: Date, offsets: &[(Interval, Offset)]) -> Vec<Interval> {
    let (opens, closes) = window.on(date);
    let mut open: Vec<Interval> = Vec::new();
    for (valid, offset) in offsets {
        let (Ok(start), Ok(end)) = (offset.to_timestamp(opens), offset.to_timestamp(closes)) else {
            continue;
        };
        let (start, end) = (start.max(valid.start), end.min(valid.end));
        if start >= end {
            continue;
        }
        match open.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => open.push(Interval { start, end }),
        }
    }
    open
}

#[cfg(test)]
mod tests;
