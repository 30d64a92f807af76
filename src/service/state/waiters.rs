//! Requests that wait for their turn to end, or follow it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::error::Error;
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::turn::TurnEnd;

/// The waiting requests, by turn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waiters {
    state: Arc<Mutex<WaiterState>>,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct WaiterState {
    by_turn: HashMap<TurnId, Entry>,
    /// The number of requests; several may wait for one turn.
    requests: usize,
    /// The followers among them, by workspace.
    followers: HashMap<WorkspaceId, usize>,
}

#[derive(Debug)]
struct Entry {
    workspace: WorkspaceId,
    count: usize,
    /// Those that follow the turn, and can come again.
    followers: usize,
    end: watch::Sender<Option<Arc<TurnEnd>>>,
}

/// A waiting request; deregistered when this is dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    pub(in crate::service) workspace: WorkspaceId,
    pub(in crate::service) turn: TurnId,
    is_follower: bool,
    end: watch::Receiver<Option<Arc<TurnEnd>>>,
}

impl Waiters {
    /// At most `max_waiting` requests wait at once (`widget.max_waiting`).
    #[must_use]
    pub fn new(max_waiting: usize) -> Self {
        Self { state: Arc::default(), max_waiting }
    }

    /// Checks whether one more request may wait. Called before any other work, so that a refusal costs nothing.
    pub fn check_capacity(&self) -> Result<(), Error> {
        self.check_capacity_beside(self.lock().requests)
    }

    fn check_capacity_beside(&self, requests: usize) -> Result<(), Error> {
        if requests < self.max_waiting {
            return Ok(());
        }
        Err(Error::Overloaded { text: "Too many requests are waiting", retry_after: Duration::from_secs(1) })
    }

    /// Registers a request that waits for a turn.
    pub fn register(&self, workspace: WorkspaceId, turn: TurnId) -> Result<Waiter, Error> {
        self.add(workspace, turn, false)
    }

    /// Registers a request that follows a turn. The followers of one workspace are at most half of all requests.
    pub(in crate::service) fn register_follower(
        &self,
        workspace: WorkspaceId,
        turn: TurnId,
    ) -> Result<Waiter, Error> {
        self.add(workspace, turn, true)
    }

    fn add(&self, workspace: WorkspaceId, turn: TurnId, is_follower: bool) -> Result<Waiter, Error> {
        let mut state = self.lock();
        self.check_capacity_beside(state.requests)?;
        if is_follower {
            let followers = state.followers.get(&workspace).copied().unwrap_or(0);
            self.check_capacity_beside(followers.saturating_mul(2))?;
            state.followers.insert(workspace, followers + 1);
        }
        let entry = state.by_turn.entry(turn).or_insert_with(|| Entry {
            workspace,
            count: 0,
            followers: 0,
            end: watch::Sender::new(None),
        });
        entry.count += 1;
        entry.followers += usize::from(is_follower);
        let end = entry.end.subscribe();
        state.requests += 1;
        drop(state);
        Ok(Waiter { waiters: self.clone(), workspace, turn, is_follower, end })
    }

    /// Wakes the requests that wait for a turn.
    pub fn wake(&self, turn: TurnId, end: TurnEnd) {
        if let Some(entry) = self.lock().by_turn.get(&turn) {
            entry.end.send_replace(Some(Arc::new(end)));
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().requests
    }

    /// The most requests of one workspace that wait, and how many may wait.
    #[must_use]
    pub fn largest_workspace(&self) -> (usize, usize) {
        let mut by_workspace: HashMap<WorkspaceId, usize> = HashMap::new();
        for entry in self.lock().by_turn.values() {
            *by_workspace.entry(entry.workspace).or_default() += entry.count;
        }
        (by_workspace.into_values().max().unwrap_or(0), self.max_waiting)
    }

    /// Whether a request of this process waits for the only answer to a turn. Followers come again after a stop.
    #[must_use]
    pub fn has_waiter(&self, turn: TurnId) -> bool {
        self.lock().by_turn.get(&turn).is_some_and(|entry| entry.count > entry.followers)
    }

    /// The awaited turns that do not run in this process, according to `runs_here`.
    pub fn awaited_turns(&self, runs_here: impl Fn(TurnId) -> bool) -> Vec<(WorkspaceId, TurnId)> {
        let state = self.lock();
        let elsewhere = state.by_turn.iter().filter(|(turn, _)| !runs_here(**turn));
        elsewhere.map(|(turn, entry)| (entry.workspace, *turn)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, WaiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for the end, at most until `deadline`.
    pub(in crate::service) async fn wait_until(&mut self, deadline: Instant) -> Option<Arc<TurnEnd>> {
        let _ = tokio::time::timeout_at(deadline.into(), self.ended()).await;
        self.end()
    }

    /// Waits for the end.
    pub(in crate::service) async fn ended(&mut self) {
        // The sender exists as long as `self` is registered.
        let _ = self.end.wait_for(Option::is_some).await;
    }

    /// The end, once the turn has ended.
    pub(in crate::service) fn end(&self) -> Option<Arc<TurnEnd>> {
        self.end.borrow().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.waiters.lock();
        state.requests -= 1;
        if self.is_follower
            && let Some(followers) = state.followers.get_mut(&self.workspace)
        {
            *followers -= 1;
            if *followers == 0 {
                state.followers.remove(&self.workspace);
            }
        }
        if let Some(entry) = state.by_turn.get_mut(&self.turn) {
            entry.count -= 1;
            entry.followers -= usize::from(self.is_follower);
            if entry.count == 0 {
                state.by_turn.remove(&self.turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::failure::Failure;

    const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::nil());
    const TURN: TurnId = TurnId(Uuid::nil());

    #[test]
    fn the_followers_of_a_workspace_leave_half_of_the_places_to_others() {
        let waiters = Waiters::new(4);
        let followers = [(), ()].map(|()| waiters.register_follower(WORKSPACE, TURN).unwrap());

        assert!(waiters.register_follower(WORKSPACE, TURN).is_err());
        assert!(!waiters.has_waiter(TURN), "followers come again");
        let other = waiters.register_follower(WorkspaceId(Uuid::from_u128(1)), TURN).unwrap();
        let waiting = waiters.register(WORKSPACE, TURN).unwrap();
        assert!(waiters.has_waiter(TURN));
        assert!(waiters.register(WORKSPACE, TURN).is_err());

        drop((followers, other, waiting));
        let state = waiters.lock();
        assert_eq!((state.requests, state.by_turn.len(), state.followers.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_end_of_a_turn_reaches_all_that_wait_for_it() {
        let waiters = Waiters::new(4);
        let mut waiting = waiters.register(WORKSPACE, TURN).unwrap();
        let mut follower = waiters.register_follower(WORKSPACE, TURN).unwrap();
        assert!(waiting.wait_until(Instant::now()).await.is_none());

        waiters.wake(TURN, TurnEnd::Failed(Failure::Timeout));

        follower.ended().await;
        let end = Some(Arc::new(TurnEnd::Failed(Failure::Timeout)));
        assert_eq!((follower.end(), waiting.wait_until(Instant::now()).await), (end.clone(), end));
    }
}
