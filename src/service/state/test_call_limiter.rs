//! Limits concurrent test calls and refreshes of tools: each holds a request and a connection for as long as a third
//! party's server takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;

/// The limit for this process; the next one is for one workspace.
const MAX_IN_FLIGHT: usize = 16;
const MAX_PER_WORKSPACE: usize = 4;
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The calls in progress, by workspace. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TestCallLimiter(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

/// Permits one call until it is dropped.
#[derive(Debug)]
pub struct TestCallPermit {
    limiter: TestCallLimiter,
    workspace: WorkspaceId,
}

impl TestCallLimiter {
    /// Acquires a permit.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there are too many calls.
    pub fn acquire(&self, workspace: WorkspaceId) -> Result<TestCallPermit, Error> {
        let mut in_flight = self.lock();
        let of_workspace = in_flight.get(&workspace).copied().unwrap_or_default();
        if of_workspace >= MAX_PER_WORKSPACE || in_flight.values().sum::<usize>() >= MAX_IN_FLIGHT {
            return Err(Error::Overloaded {
                text: "Too many tools are being tried",
                retry_after: RETRY_AFTER,
            });
        }
        in_flight.insert(workspace, of_workspace + 1);
        drop(in_flight);
        Ok(TestCallPermit { limiter: self.clone(), workspace })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestCallPermit {
    fn drop(&mut self) {
        let mut in_flight = self.limiter.lock();
        match in_flight.get_mut(&self.workspace) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(in_flight.remove(&self.workspace)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_workspace_has_a_few_and_a_process_some_more() {
        let limiter = TestCallLimiter::default();
        let acquire = |n: u128| limiter.acquire(WorkspaceId(Uuid::from_u128(n)));

        let mut in_flight: Vec<_> = (0..16).map(|n| acquire(n / 4).unwrap()).collect();
        assert!(acquire(9).is_err(), "the process has its most");
        in_flight.remove(0);
        assert!(acquire(1).is_err(), "the workspace has its most");
        in_flight.push(acquire(0).unwrap());
        in_flight.clear();
        assert!(limiter.lock().is_empty());
    }
}
