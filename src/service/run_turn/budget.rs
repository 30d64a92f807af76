//! The time that one attempt may spend on models and tools; waiting for the store is not counted.

use std::future::Future;
use std::time::{Duration, Instant};

/// What is left of an attempt's time.
#[derive(Debug)]
pub(super) struct Budget {
    left: Duration,
}

impl Budget {
    pub(super) fn new(whole: Duration) -> Self {
        Self { left: whole }
    }

    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Counts time that was spent.
    pub(super) fn take(&mut self, spent: Duration) {
        self.left = self.left.saturating_sub(spent);
    }

    /// Runs `work` for at most what is left; none where that ran out.
    pub(super) async fn spend<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let began = Instant::now();
        let done = tokio::time::timeout(self.left, work).await.ok();
        self.take(began.elapsed());
        done
    }
}
