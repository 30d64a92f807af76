//! The status of this process's lease, for all tasks that act on work that the process owns.

use std::time::Instant;

use tokio::sync::watch;

/// Updates the status of the lease.
#[derive(Debug)]
pub struct LeaseKeeper {
    validity: watch::Sender<Validity>,
    renewal: watch::Sender<Renewal>,
}

/// Reads the status of the lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseStatus {
    validity: watch::Receiver<Validity>,
    renewal: watch::Sender<Renewal>,
}

#[derive(Clone, Copy, Debug)]
enum Validity {
    /// A single process needs no lease.
    Always,
    Until(Instant),
    Lost,
}

/// Whether the lease can be renewed. A renewal is a commit, so this also tells whether this process can commit.
#[derive(Debug, Default)]
struct Renewal {
    /// How often it became doubtful whether the lease can be renewed.
    doubts: u64,
    /// The doubts before the last successful renewal was sent.
    resolved: u64,
    /// Why the last renewal failed; `None` if it succeeded.
    failure: Option<String>,
}

/// Creates a lease that is valid until its keeper changes that.
#[must_use]
pub fn lease_channel() -> (LeaseKeeper, LeaseStatus) {
    let (validity, status) = watch::channel(Validity::Always);
    let renewal = watch::Sender::new(Renewal::default());
    (LeaseKeeper { validity, renewal: renewal.clone() }, LeaseStatus { validity: status, renewal })
}

impl LeaseKeeper {
    /// Records a renewal. The lease then expires at `end` by this process's own clock, even if the keeper cannot report
    /// that it was lost.
    pub fn extend_until(&self, end: Instant) {
        self.validity.send_replace(Validity::Until(end));
    }

    /// Records the loss of the lease.
    pub fn mark_lost(&self) {
        self.validity.send_replace(Validity::Lost);
    }

    /// The doubts so far, for [`Self::record_success`] of the renewal that is sent next.
    #[must_use]
    pub fn doubts(&self) -> u64 {
        self.renewal.borrow().doubts
    }

    /// A renewal succeeded, and was sent after so many doubts.
    pub fn record_success(&self, doubts: u64) {
        self.renewal.send_modify(|renewal| {
            renewal.resolved = doubts;
            renewal.failure = None;
        });
    }

    /// A renewal failed.
    pub fn record_failure(&self, reason: String) {
        self.renewal.send_modify(|renewal| {
            renewal.doubts += 1;
            renewal.failure = Some(reason);
        });
    }

    /// Returns true if the last renewal succeeded, and nothing has made the next one doubtful.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.renewal.borrow().is_certain()
    }

    /// Waits until it is doubtful whether the lease can be renewed.
    pub async fn wait_for_doubt(&self) {
        let mut renewal = self.renewal.subscribe();
        // The sender is there as long as this.
        let _ = renewal.wait_for(|renewal| !renewal.is_certain()).await;
    }
}

impl Renewal {
    fn is_certain(&self) -> bool {
        self.doubts == self.resolved
    }
}

impl LeaseStatus {
    /// Whether the lease is valid now. It is not in a process that was frozen for long and has just resumed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match *self.validity.borrow() {
            Validity::Always => true,
            Validity::Until(end) => Instant::now() < end,
            Validity::Lost => false,
        }
    }

    /// Waits until the lease is valid.
    pub async fn wait_until_valid(&self) {
        let mut status = self.validity.clone();
        // The keeper lives as long as the process.
        while !self.is_valid() && status.changed().await.is_ok() {}
    }

    /// Makes it doubtful whether the lease can be renewed, until it has been.
    pub fn doubt(&self) {
        self.renewal.send_modify(|renewal| renewal.doubts += 1);
    }

    /// Checks that the lease is valid and can be renewed.
    ///
    /// # Errors
    ///
    /// Why the last renewal failed, if one has.
    pub fn require_renewable(&self) -> Result<(), Option<String>> {
        let renewal = self.renewal.borrow();
        if renewal.is_certain() && self.is_valid() { Ok(()) } else { Err(renewal.failure.clone()) }
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

    #[tokio::test]
    async fn only_a_renewal_that_was_sent_after_the_last_doubt_resolves_it() {
        let (keeper, status) = lease_channel();
        assert_eq!(status.require_renewable(), Ok(()));

        let sent_before = keeper.doubts();
        status.doubt();
        keeper.record_success(sent_before);
        assert_eq!(status.require_renewable(), Err(None));
        keeper.wait_for_doubt().await;
        keeper.record_failure("the server is a standby".to_owned());
        assert_eq!(status.require_renewable(), Err(Some("the server is a standby".to_owned())));
        assert!(!keeper.is_renewable());

        keeper.record_success(keeper.doubts());
        assert_eq!(status.require_renewable(), Ok(()));
        keeper.extend_until(Instant::now());
        assert_eq!(status.require_renewable(), Err(None), "it has expired");
    }
}
