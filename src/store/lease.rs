//! Whether this process holds its lease, for all who act on what it owns.

use std::time::Instant;

use tokio::sync::watch;

/// The keeper's end: it says how long the lease holds.
#[derive(Debug)]
pub struct LeaseKeeper(watch::Sender<Holds>);

/// Everyone else's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HasLease(watch::Receiver<Holds>);

#[derive(Clone, Copy, Debug)]
enum Holds {
    /// There is one process, which needs none.
    Always,
    Until(Instant),
    Lost,
}

/// A lease that holds until its keeper says otherwise.
#[must_use]
pub fn lease() -> (LeaseKeeper, HasLease) {
    let (keeper, has) = watch::channel(Holds::Always);
    (LeaseKeeper(keeper), HasLease(has))
}

impl LeaseKeeper {
    /// It was renewed, and holds until then by this process's own clock, whether or not the keeper
    /// gets to say that it was lost.
    pub fn holds_until(&self, end: Instant) {
        self.0.send_replace(Holds::Until(end));
    }

    /// It holds no more.
    pub fn lose(&self) {
        self.0.send_replace(Holds::Lost);
    }
}

impl HasLease {
    /// Whether it holds now: also false in a process that was frozen, and has just woken up.
    #[must_use]
    pub fn now(&self) -> bool {
        match *self.0.borrow() {
            Holds::Always => true,
            Holds::Until(end) => Instant::now() < end,
            Holds::Lost => false,
        }
    }

    /// Waits until it holds.
    pub async fn regained(&self) {
        let mut has = self.0.clone();
        // The keeper lives as long as the process.
        while !self.now() && has.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_lease_that_nobody_renews_ends_by_itself_and_is_regained_by_a_renewal() {
        let (keeper, has) = lease();
        assert!(has.now());

        keeper.holds_until(Instant::now());
        assert!(!has.now());

        let ((), ()) = tokio::join!(has.regained(), async {
            keeper.holds_until(Instant::now() + Duration::from_mins(1));
        });
        assert!(has.now());
        keeper.lose();
        assert!(!has.now());
    }
}
