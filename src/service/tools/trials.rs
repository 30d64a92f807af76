//! How many test calls and new lists may be under way at once: each holds a request and a connection for
//! as long as somebody else's server likes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;

/// In this process, and of one workspace.
const MOST: usize = 16;
const MOST_OF_ONE: usize = 4;
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What is under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trials(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

/// One that is under way, until this is dropped.
#[derive(Debug)]
pub struct Trial {
    trials: Trials,
    workspace: WorkspaceId,
}

impl Trials {
    /// Begins one. [`Error::Overloaded`] where too many are under way.
    pub fn begin(&self, workspace: WorkspaceId) -> Result<Trial, Error> {
        let mut under_way = self.lock();
        let of_one = under_way.get(&workspace).copied().unwrap_or_default();
        if of_one >= MOST_OF_ONE || under_way.values().sum::<usize>() >= MOST {
            return Err(Error::Overloaded { text: "Too many tools are being tried", retry_after: TRY_AGAIN });
        }
        under_way.insert(workspace, of_one + 1);
        drop(under_way);
        Ok(Trial { trials: self.clone(), workspace })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut under_way = self.trials.lock();
        match under_way.get_mut(&self.workspace) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(under_way.remove(&self.workspace)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_workspace_has_a_few_and_a_process_some_more() {
        let trials = Trials::default();
        let begin = |n: u128| trials.begin(WorkspaceId(Uuid::from_u128(n)));

        let mut under_way: Vec<_> = (0..16).map(|n| begin(n / 4).unwrap()).collect();
        assert!(begin(9).is_err(), "the process has its most");
        under_way.remove(0);
        assert!(begin(1).is_err(), "the workspace has its most");
        under_way.push(begin(0).unwrap());
        under_way.clear();
        assert!(trials.lock().is_empty());
    }
}
