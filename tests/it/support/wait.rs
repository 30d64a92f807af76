//! Waiting for a condition, with an upper bound. Tests wait in no other way.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Longer than any condition takes on a busy machine, and shorter than the runner's timeout.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until `condition` returns a value, and returns it. Panics with `what` after [`WAIT_TIMEOUT`].
pub async fn wait_for<T, C>(what: &str, condition: impl FnMut() -> C) -> T
where
    C: Future<Output = Option<T>>,
{
    wait_at_most(WAIT_TIMEOUT, what, condition).await
}

/// [`wait_for`] with another timeout.
pub async fn wait_at_most<T, C>(timeout: Duration, what: &str, mut condition: impl FnMut() -> C) -> T
where
    C: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    let mut tick = interval(Duration::from_millis(5));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < timeout {
        tick.tick().await;
        if let Some(value) = condition().await {
            return value;
        }
    }
    panic!("waited {timeout:?} for {what}");
}

/// Awaits `future` for at most [`WAIT_TIMEOUT`], then panics with `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(WAIT_TIMEOUT, future).await;
    outcome.unwrap_or_else(|_| panic!("waited {WAIT_TIMEOUT:?} for {what}"))
}
