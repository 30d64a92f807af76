//! The status of this process's lease, for all tasks that act on work that the process owns.

use std::time::Instant;

use tokio::sync::watch;

/// Updates the status of the lease.
#[derive(Debug)]
pub struct LeaseKeeper(watch::Sender<Validity>);

/// Reads the status of the lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseStatus(watch::Receiver<Validity>);

#[derive(Clone, Copy, Debug)]
enum Validity {
    /// A single process needs no lease.
    Always,
    Until(Instant),
    Lost,
}

/// Creates a lease that is valid until its keeper changes that.
#[must_use]
pub fn lease_channel() -> (LeaseKeeper, LeaseStatus) {
    let (keeper, status) = watch::channel(Validity::Always);
    (LeaseKeeper(keeper), LeaseStatus(status))
}

impl LeaseKeeper {
    /// Records a renewal. The lease then expires at `end` by this process's own clock, even if the keeper cannot report
    /// that it was lost.
    pub fn extend_until(&self, end: Instant) {
        self.0.send_replace(Validity::Until(end));
    }

    /// Records the loss of the lease.
    pub fn mark_lost(&self) {
        self.0.send_replace(Validity::Lost);
    }
}

impl LeaseStatus {
    /// Whether the lease is valid now. It is not in a process that was frozen for long and has just resumed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match *self.0.borrow() {
            Validity::Always => true,
            Validity::Until(end) => Instant::now() < end,
            Validity::Lost => false,
        }
    }

    /// Waits until the lease is valid.
    pub async fn wait_until_valid(&self) {
        let mut status = self.0.clone();
        // The keeper lives as long as the process.
        while !self.is_valid() && status.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_lease_that_nobody_renews_ends_by_itself_and_is_regained_by_a_renewal() {
        let (keeper, status) = lease_channel();
        assert!(status.is_valid());

        keeper.extend_until(Instant::now());
        assert!(!status.is_valid());

        let ((), ()) = tokio::join!(status.wait_until_valid(), async {
            keeper.extend_until(Instant::now() + Duration::from_mins(1));
        });
        assert!(status.is_valid());
        keeper.mark_lost();
        assert!(!status.is_valid());
    }
}
