//! The search for free slots: the grid, less what is busy, too soon or too far ahead.

use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp, ToSpan};

use super::grid::slots_on;
use super::interval::{BusyTimes, Interval, shifted};
use super::rules::CalendarRules;

/// How many days, from the wanted one on, are searched for another time.
const ALTERNATIVE_DAYS: i64 = 31;
/// How many other times are named.
const MAX_ALTERNATIVES: usize = 10;

/// What can be booked, seen from one moment.
pub(super) struct Search<'a> {
    pub(super) rules: &'a CalendarRules,
    pub(super) now: Timestamp,
    pub(super) busy: BusyTimes,
}

impl<'a> Search<'a> {
    pub(super) fn new(rules: &'a CalendarRules, busy: &[Interval], now: Timestamp) -> Self {
        Self { rules, now, busy: BusyTimes::of(busy) }
    }

    /// Whether the slot, one of the grid, can be booked.
    fn is_free(&self, slot: Interval) -> bool {
        let soonest = shifted(self.now, self.rules.minimum_notice);
        soonest <= slot.start && !self.busy.overlaps(slot.widened(self.rules.buffer))
    }

    /// The free slots of these days, in order; whoever asks keeps the days within today and the horizon.
    pub(super) fn free_slots(&self, days: Days) -> impl Iterator<Item = Interval> {
        days.each().flat_map(|date| slots_on(self.rules, date)).filter(|slot| self.is_free(*slot))
    }

    /// The free slots nearest to `wanted`, in order.
    pub(super) fn alternatives(&self, days: Days, wanted: Timestamp) -> Vec<Interval> {
        let mut free: Vec<Interval> = self.free_slots(days).collect();
        free.sort_by_key(|slot| slot.start.duration_since(wanted).abs());
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
        Self { first: today, last: later(today, rules.horizon_days.into()) }
    }

    /// The days searched for another time than one on `wanted`: from it on, or, where it lies beyond the
    /// horizon, the last week before that.
    pub(super) fn of_alternatives(rules: &CalendarRules, wanted: Date, now: Timestamp) -> Self {
        let bookable = Self::bookable(rules, now);
        let from = if wanted > bookable.last { later(bookable.last, -6) } else { wanted };
        let first = from.max(bookable.first);
        Self { first, last: later(first, ALTERNATIVE_DAYS - 1).min(bookable.last) }
    }

    fn each(self) -> impl Iterator<Item = Date> {
        std::iter::successors(Some(self.first), |date| date.tomorrow().ok())
            .take_while(move |date| *date <= self.last)
    }

    /// The time in which a booking bears on a slot of these days.
    pub(super) fn in_time(self, rules: &CalendarRules) -> Interval {
        let midnight = |date: Date| rules.zone.to_ambiguous_timestamp(date.to_datetime(Time::midnight()));
        let start = midnight(self.first).earlier().unwrap_or(Timestamp::MIN);
        let end = midnight(later(self.last, 1)).later().unwrap_or(Timestamp::MAX);
        Interval { start, end }.widened(rules.buffer)
    }
}

/// `date` moved by `days`, held within the range of dates.
pub(super) fn later(date: Date, days: i64) -> Date {
    date.saturating_add(Span::new().try_days(days).unwrap_or_else(|_| 0.days()))
}
