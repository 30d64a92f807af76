//! Whether this process holds its lease, for all who act on what it owns.

use std::time::Instant;

use tokio::sync::watch;

/// The keeper's end: it says how long the lease holds.
#[derive(Debug)]
pub struct LeaseKeeper(watch::Sender<Validity>);

/// Everyone else's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseStatus(watch::Receiver<Validity>);

#[derive(Clone, Copy, Debug)]
enum Validity {
    /// There is one process, which needs none.
    Always,
    Until(Instant),
    Lost,
}

/// A lease that holds until its keeper says otherwise.
#[must_use]
pub fn lease_channel() -> (LeaseKeeper, LeaseStatus) {
    let (keeper, status) = watch::channel(Validity::Always);
    (LeaseKeeper(keeper), LeaseStatus(status))
}

impl LeaseKeeper {
    /// It was renewed, and holds until then by this process's own clock, whether or not the keeper
    /// gets to say that it was lost.
    pub fn extend_until(&self, end: Instant) {
        self.0.send_replace(Validity::Until(end));
    }

    /// It holds no more.
    pub fn mark_lost(&self) {
        self.0.send_replace(Validity::Lost);
    }
}

impl LeaseStatus {
    /// Whether it holds now: also false in a process that was frozen, and has just woken up.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match *self.0.borrow() {
            Validity::Always => true,
            Validity::Until(end) => Instant::now() < end,
            Validity::Lost => false,
        }
    }

    /// Waits until it holds.
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
