//! When the files of SQLite are to be cleaned of what deleted rows have left behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The longest time until the next cleaning after the removals of every minute: each cleaning keeps the writer waiting.
const LATER: Duration = Duration::from_hours(1);

/// The cleanings that are due in this process.
#[derive(Debug, Default)]
pub(in crate::worker) struct Remnants {
    /// The number of requests for a cleaning soon, and how many of the first of them were met.
    requested: AtomicU64,
    met: AtomicU64,
    later: AtomicBool,
    changed: Notify,
}

/// A request for a cleaning.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct CleaningRequest(u64);

impl Remnants {
    /// Rows were removed on request, or because their workspace keeps them for a time only.
    pub(in crate::worker) fn clean_soon(&self) -> CleaningRequest {
        let request = CleaningRequest(self.requested.fetch_add(1, Ordering::AcqRel) + 1);
        self.changed.notify_one();
        request
    }

    /// Rows were removed that all workspaces keep for a time only.
    pub(in crate::worker) fn clean_later(&self) {
        self.later.store(true, Ordering::Release);
    }

    /// Whether the files were cleaned since a request.
    pub(in crate::worker) fn is_met(&self, request: CleaningRequest) -> bool {
        self.met.load(Ordering::Acquire) >= request.0
    }

    /// Waits for a request, at most so long.
    pub(super) async fn requested_within(&self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, self.changed.notified()).await;
    }

    /// Whether to clean now, this long after the last cleaning.
    pub(super) fn is_due(&self, since_last: Duration) -> bool {
        let is_requested = self.requested.load(Ordering::Acquire) > self.met.load(Ordering::Acquire);
        is_requested || self.later.load(Ordering::Acquire) && since_last >= LATER
    }

    /// A cleaning begins. It meets the requests up to this one.
    pub(super) fn begin(&self) -> CleaningRequest {
        self.later.store(false, Ordering::Release);
        CleaningRequest(self.requested.load(Ordering::Acquire))
    }

    /// The cleaning has succeeded.
    pub(super) fn end(&self, last: CleaningRequest) {
        self.met.store(last.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleaning_meets_the_requests_from_before_it_began() {
        let remnants = Remnants::default();
        let before = remnants.clean_soon();
        assert!(remnants.is_due(Duration::ZERO) && !remnants.is_met(before));

        let cleaning = remnants.begin();
        let during = remnants.clean_soon();
        remnants.end(cleaning);

        assert!(remnants.is_met(before) && !remnants.is_met(during));
        assert!(remnants.is_due(Duration::ZERO));
    }

    #[test]
    fn removals_of_every_minute_are_cleaned_once_an_hour() {
        let remnants = Remnants::default();
        assert!(!remnants.is_due(LATER));

        remnants.clean_later();

        assert!(!remnants.is_due(LATER / 2) && remnants.is_due(LATER));
        remnants.begin();
        assert!(!remnants.is_due(LATER));
    }
}
