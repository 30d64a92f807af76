//! The tasks of this process that work on turns or deliveries that it owns, by the key of that work.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The tasks in flight. Cheap to clone.
#[derive(Debug)]
pub(super) struct TaskRegistry<K> {
    inner: Arc<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    state: Mutex<RegistryState<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct RegistryState<K> {
    tasks: HashMap<K, RegisteredTask>,
    next_number: u64,
}

#[derive(Debug)]
struct RegisteredTask {
    /// Distinguishes the tasks of one key: a task that was fenced off may end after the next one has begun.
    number: u64,
    cancelled: CancellationToken,
    stopped: CancellationToken,
}

/// The entry of one task, removed when this is dropped, however the task ends.
#[derive(Debug)]
pub(super) struct TaskGuard<K: Copy + Eq + Hash> {
    registry: TaskRegistry<K>,
    key: K,
    number: u64,
    cancelled: CancellationToken,
    stopped: CancellationToken,
}

impl<K> Clone for TaskRegistry<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K> Default for TaskRegistry<K> {
    fn default() -> Self {
        let state = Mutex::new(RegistryState { tasks: HashMap::new(), next_number: 0 });
        Self { inner: Arc::new(Inner { state, changed: Notify::new() }) }
    }
}

impl<K: Copy + Eq + Hash> TaskRegistry<K> {
    /// Enters a task that is about to run. An earlier task of the same key has been fenced off, and is cancelled.
    pub(super) fn register(&self, key: K) -> TaskGuard<K> {
        let (cancelled, stopped) = (CancellationToken::new(), CancellationToken::new());
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        let task = RegisteredTask { number, cancelled: cancelled.clone(), stopped: stopped.clone() };
        if let Some(previous) = state.tasks.insert(key, task) {
            previous.cancelled.cancel();
        }
        drop(state);
        TaskGuard { registry: self.clone(), key, number, cancelled, stopped }
    }

    /// Cancels the task of a key, whose work someone else has ended.
    pub(super) fn cancel(&self, key: K) {
        if let Some(task) = self.lock().tasks.get(&key) {
            task.cancelled.cancel();
        }
    }

    /// Asks the task of a key to end its work early.
    pub(super) fn stop(&self, key: K) {
        if let Some(task) = self.lock().tasks.get(&key) {
            task.stopped.cancel();
        }
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.lock().tasks.contains_key(&key)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().tasks.len()
    }

    /// All keys, each with the token that cancels the task registered now and no later one.
    pub(super) fn running(&self) -> Vec<(K, CancellationToken)> {
        self.lock().tasks.iter().map(|(key, task)| (*key, task.cancelled.clone())).collect()
    }

    /// Waits until a task has ended; returns at once when none is registered.
    pub(super) async fn changed(&self) {
        let changed = self.inner.changed.notified();
        if self.count() > 0 {
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> TaskGuard<K> {
    /// Cancelled when someone else has taken over or ended the work: the task must stop.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Cancelled when the task is asked to end its work early.
    pub(super) fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }
}

impl<K: Copy + Eq + Hash> Drop for TaskGuard<K> {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if state.tasks.get(&self.key).is_some_and(|task| task.number == self.number) {
            state.tasks.remove(&self.key);
        }
        drop(state);
        self.registry.inner.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_was_claimed_again_stays_registered_when_its_first_task_ends() {
        let registry = TaskRegistry::default();
        let first = registry.register(1);
        let running = registry.running();
        let again = registry.register(1);
        assert!(first.cancelled().is_cancelled(), "only the last owner works on it");

        for (_, cancelled) in running {
            cancelled.cancel();
        }
        drop(first);
        assert!(!again.cancelled().is_cancelled());

        assert_eq!((registry.contains(1), registry.count()), (true, 1));
        registry.cancel(1);
        assert!(again.cancelled().is_cancelled());
        drop(again);
        assert!(!registry.contains(1));
    }
}
