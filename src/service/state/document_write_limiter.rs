//! Limits how many documents this process writes at once. Writes to one knowledge base wait for the lock of its row while
//! they hold a write connection, which messages need too; so they wait for a permit first, without a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::error::Error;

const MAX_CONCURRENT: usize = 2;
/// How long a write waits for a permit.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Permits for writing documents. Cheap to clone.
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
    /// Acquires a permit, to be held until the transaction has ended.
    ///
    /// # Errors
    /// [`Error::Overloaded`] after 10 s.
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
