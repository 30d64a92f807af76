//! The search for free slots: the slots of the grid that are neither busy nor too soon nor too far ahead.

use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp, ToSpan};

use super::grid::slots_on;
use super::interval::{BusyTimes, Interval, saturating_add};
use super::rules::CalendarRules;

/// Number of days searched for alternatives, starting with the requested one.
const ALTERNATIVE_DAYS: i64 = 31;
/// Maximum number of alternatives in a refusal.
const MAX_ALTERNATIVES: usize = 10;

/// Finds the slots that can be booked at the time `now`.
pub(super) struct SlotSearch<'a> {
    pub(super) rules: &'a CalendarRules,
    pub(super) now: Timestamp,
    pub(super) busy: BusyTimes,
}

impl<'a> SlotSearch<'a> {
    pub(super) fn new(rules: &'a CalendarRules, busy: &[Interval], now: Timestamp) -> Self {
        Self { rules, now, busy: BusyTimes::new(busy) }
    }

    /// Whether this slot of the grid can be booked.
    fn is_free(&self, slot: Interval) -> bool {
        let soonest = saturating_add(self.now, self.rules.minimum_notice);
        soonest <= slot.start && !self.busy.overlaps(slot.pad(self.rules.buffer))
    }

    /// The free slots of these days, in order. The caller limits the days to [`Days::bookable`].
    pub(super) fn free_slots(&self, days: Days) -> impl Iterator<Item = Interval> {
        days.dates().flat_map(|date| slots_on(self.rules, date)).filter(|slot| self.is_free(*slot))
    }

    /// The free slots nearest to `target`, in order.
    pub(super) fn alternatives(&self, days: Days, target: Timestamp) -> Vec<Interval> {
        let mut free: Vec<Interval> = self.free_slots(days).collect();
        free.sort_by_key(|slot| slot.start.duration_since(target).abs());
        free.truncate(MAX_ALTERNATIVES);
        free.sort_unstable_by_key(|slot| slot.start);
        free
    }
}

/// Days of a calendar, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) first: Date,
    pub(super) last: Date,
}

impl Days {
    /// From today to the end of the horizon.
    pub(super) fn bookable(rules: &CalendarRules, now: Timestamp) -> Self {
        let today = rules.zone.to_datetime(now).date();
        Self { first: today, last: add_days(today, rules.horizon_days.into()) }
    }

    /// The days searched for alternatives to `target`: from that day on, or the last week of the horizon if
    /// `target` is beyond it.
    pub(super) fn for_alternatives(rules: &CalendarRules, target: Date, now: Timestamp) -> Self {
        let bookable = Self::bookable(rules, now);
        let from = if target > bookable.last { add_days(bookable.last, -6) } else { target };
        let first = from.max(bookable.first);
        Self { first, last: add_days(first, ALTERNATIVE_DAYS - 1).min(bookable.last) }
    }

    fn dates(self) -> impl Iterator<Item = Date> {
        std::iter::successors(Some(self.first), |date| date.tomorrow().ok())
            .take_while(move |date| *date <= self.last)
    }

    /// The time range in which a booking can affect a slot of these days.
    pub(super) fn to_interval(self, rules: &CalendarRules) -> Interval {
        let midnight = |date: Date| rules.zone.to_ambiguous_timestamp(date.to_datetime(Time::midnight()));
        let start = midnight(self.first).earlier().unwrap_or(Timestamp::MIN);
        let end = midnight(add_days(self.last, 1)).later().unwrap_or(Timestamp::MAX);
        Interval { start, end }.pad(rules.buffer)
    }
}

/// `date` shifted by `days`, clamped to the range of dates.
pub(super) fn add_days(date: Date, days: i64) -> Date {
    date.saturating_add(Span::new().try_days(days).unwrap_or_else(|_| 0.days()))
}
