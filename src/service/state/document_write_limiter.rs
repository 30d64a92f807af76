//! How many documents this process writes at once. Those of one base wait for its row, each with a connection of those
//! that messages are written with: so they wait for their place first, without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::error::Error;

const MAX_CONCURRENT: usize = 2;
/// How long one waits for its place.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Places of those that write documents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DocumentWriteLimiter {
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Default for DocumentWriteLimiter {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_CONCURRENT)), timeout: TIMEOUT }
    }
}

impl DocumentWriteLimiter {
    /// A place, to be held until the transaction has ended; [`Error::Overloaded`] where there was none in 10 s.
    pub(in crate::service) async fn acquire(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = tokio::time::timeout(self.timeout, Arc::clone(&self.permits).acquire_owned()).await;
        let text = "Too many documents are being written";
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or(Error::Overloaded { text, retry_after: Duration::from_secs(5) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_permit_in_time_a_write_is_overloaded() {
        let limiter =
            DocumentWriteLimiter { timeout: Duration::from_millis(20), ..DocumentWriteLimiter::default() };
        let first = limiter.acquire().await.unwrap();
        let _second = limiter.acquire().await.unwrap();

        let refused = limiter.acquire().await.unwrap_err();

        assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
        drop(first);
        drop(limiter.acquire().await.unwrap());
    }
}
