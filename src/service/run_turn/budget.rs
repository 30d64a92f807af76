//! The time that one attempt may spend on models and tools. Waiting for the database is not counted.

use std::future::Future;
use std::time::{Duration, Instant};

/// The remaining time of an attempt.
#[derive(Debug)]
pub(super) struct Budget {
    total: Duration,
    remaining: Duration,
}

impl Budget {
    pub(super) fn new(total: Duration) -> Self {
        Self { total, remaining: total }
    }

    pub(super) fn remaining(&self) -> Duration {
        self.remaining
    }

    /// Whether no time was spent yet.
    pub(super) fn is_whole(&self) -> bool {
        self.remaining == self.total
    }

    /// Subtracts time that was spent.
    pub(super) fn consume(&mut self, spent: Duration) {
        self.remaining = self.remaining.saturating_sub(spent);
    }

    /// Runs `work` for at most the remaining time; `None` on timeout.
    pub(super) async fn spend<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let began = Instant::now();
        let done = tokio::time::timeout(self.remaining, work).await.ok();
        self.consume(began.elapsed());
        done
    }
}
