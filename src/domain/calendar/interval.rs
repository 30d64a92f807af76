//! Intervals of absolute time, and the busy times of a calendar.

use jiff::{SignedDuration, Timestamp};

/// From `start` (inclusive) to `end` (exclusive): a slot, a booking, or a range to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Inclusive.
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
}

impl Interval {
    /// From UTC microseconds, as the database stores them.
    ///
    /// # Errors
    /// If a value is outside the range of timestamps.
    pub fn from_microseconds(start: i64, end: i64) -> Result<Self, jiff::Error> {
        Ok(Self { start: Timestamp::from_microsecond(start)?, end: Timestamp::from_microsecond(end)? })
    }

    /// Start and end as UTC microseconds.
    pub fn to_microseconds(self) -> (i64, i64) {
        (self.start.as_microsecond(), self.end.as_microsecond())
    }

    /// Extended by `margin` at both ends.
    pub(super) fn pad(self, margin: SignedDuration) -> Self {
        Self { start: saturating_add(self.start, -margin), end: saturating_add(self.end, margin) }
    }

    /// The smallest interval that contains both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(super) fn contains(self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// `instant` shifted by `by`, clamped to the range of timestamps.
pub(crate) fn saturating_add(instant: Timestamp, by: SignedDuration) -> Timestamp {
    // Only calendar units can cause the error, and a signed duration has none.
    instant.saturating_add(by).unwrap_or(instant)
}

/// Sorted and merged busy intervals, so that a lookup is a binary search. Decisions run under the calendar's lock,
/// and comparing each slot of a full month with each booking would take millions of steps.
#[derive(Debug)]
pub(super) struct BusyTimes(Vec<Interval>);

impl BusyTimes {
    pub(super) fn new(busy: &[Interval]) -> Self {
        let mut sorted = busy.to_vec();
        sorted.sort_unstable_by_key(|interval| interval.start);
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for interval in sorted {
            match merged.last_mut() {
                Some(last) if interval.start <= last.end => last.end = last.end.max(interval.end),
                _ => merged.push(interval),
            }
        }
        Self(merged)
    }

    pub(super) fn overlaps(&self, interval: Interval) -> bool {
        let first_after_start = self.0.partition_point(|busy| busy.end <= interval.start);
        self.0.get(first_after_start).is_some_and(|busy| busy.start < interval.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(start: i64, end: i64) -> Interval {
        Interval::from_microseconds(start, end).unwrap()
    }

    #[test]
    fn adjacent_intervals_do_not_overlap() {
        let busy = BusyTimes::new(&[interval(50, 60), interval(10, 20), interval(15, 30), interval(30, 40)]);

        for (start, end, expected) in
            [(0, 10, false), (0, 11, true), (19, 21, true), (39, 41, true), (40, 50, false), (60, 90, false)]
        {
            assert_eq!(busy.overlaps(interval(start, end)), expected, "{start}..{end}");
        }
    }

    #[test]
    fn microseconds_round_trip_and_out_of_range_values_are_an_error() {
        assert_eq!(interval(-5, 1_700_000_000_000_001).to_microseconds(), (-5, 1_700_000_000_000_001));
        assert!(Interval::from_microseconds(0, i64::MAX).is_err());
    }
}
