//! Limits how many calls of one kind are in flight, in this process and by workspace.

use std::time::Duration;

use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::fair_semaphore::{FairPermit, FairSemaphore, Shares};

/// How long a refused caller is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The permits of one kind of call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkspaceLimiter {
    permits: FairSemaphore<WorkspaceId>,
    /// How long a call waits for its permit.
    timeout: Duration,
    /// The text of the error of a refused call.
    text: &'static str,
}

impl WorkspaceLimiter {
    /// Documents that are written. Writes to one knowledge base wait for the lock of its row while they hold a write connection, which
    /// the other writes of their workspace need too; so they wait for a permit first, without a connection.
    #[must_use]
    pub fn document_writes() -> Self {
        let text = "Too many documents are being written";
        Self::new(Shares::half_of(2), Duration::from_secs(10), text)
    }

    /// Test calls and refreshes of tools: each has a request and a connection for as long as a third party's server takes.
    #[must_use]
    pub fn test_calls() -> Self {
        Self::new(Shares { total: 16, per_key: 4 }, Duration::ZERO, "Too many tools are being tested")
    }

    /// Requests of the API that call a calendar's CalDAV server: each has a connection for as long as that server takes.
    #[must_use]
    pub fn caldav_requests() -> Self {
        let text = "Too many requests to CalDAV servers are running";
        Self::new(Shares { total: 16, per_key: 4 }, Duration::ZERO, text)
    }

    fn new(shares: Shares, timeout: Duration, text: &'static str) -> Self {
        Self { permits: FairSemaphore::new(shares), timeout, text }
    }

    /// Acquires a permit, to be held until the call has ended.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if none is free in time.
    pub(in crate::service) async fn acquire(
        &self,
        workspace: WorkspaceId,
    ) -> Result<FairPermit<WorkspaceId>, Error> {
        let permit = self.permits.acquire_within(workspace, 1, self.timeout).await;
        permit.ok_or(Error::Overloaded { text: self.text, retry_after: RETRY_AFTER })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn workspace(number: u128) -> WorkspaceId {
        WorkspaceId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_workspace_that_writes_documents_leaves_a_permit_to_others() {
        let limiter =
            WorkspaceLimiter { timeout: Duration::from_millis(20), ..WorkspaceLimiter::document_writes() };
        let first = limiter.acquire(workspace(1)).await.unwrap();

        let refused = limiter.acquire(workspace(1)).await.unwrap_err();
        let _other = limiter.acquire(workspace(2)).await.unwrap();

        assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
        drop(first);
        drop(limiter.acquire(workspace(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_workspace_has_a_few_test_calls_and_a_process_some_more() {
        let limiter = WorkspaceLimiter::test_calls();
        let mut in_flight = Vec::new();
        for number in 0..16 {
            in_flight.push(limiter.acquire(workspace(number / 4)).await.unwrap());
        }

        assert!(limiter.acquire(workspace(9)).await.is_err(), "the process has its most");
        drop(in_flight.remove(0));
        assert!(limiter.acquire(workspace(1)).await.is_err(), "the workspace has its most");
        assert!(limiter.acquire(workspace(0)).await.is_ok());
    }
}
