//! A process's own books: which turns its tasks run, to be compared with what the store says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Worker;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnRef;
use crate::store::turns;
use crate::writer::HandBack;

/// The turns that run here. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskRegistry {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: Mutex<RegistryState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct RegistryState {
    entries: HashMap<TurnId, TaskEntry>,
    /// Tells a turn's tasks apart: one that was overtaken may end after a new one has begun.
    next: u64,
}

/// What is kept of a task.
#[derive(Debug)]
struct TaskEntry {
    number: u64,
    /// None until the task has been spawned.
    handle: Option<AbortHandle>,
    /// Cancelled before it was spawned.
    is_cancelled: bool,
}

impl TaskEntry {
    fn cancel(&mut self) {
        self.is_cancelled = true;
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

/// A task's entry; it leaves the books when this is dropped, however the task ends.
#[derive(Debug)]
pub(super) struct TaskGuard {
    task_registry: TaskRegistry,
    turn: TurnId,
    number: u64,
}

impl TaskRegistry {
    /// Enters a turn that is about to run.
    pub(super) fn register(&self, turn: TurnId) -> TaskGuard {
        let mut running = self.lock();
        let number = running.next;
        running.next += 1;
        let entry = TaskEntry { number, handle: None, is_cancelled: false };
        if let Some(mut previous) = running.entries.insert(turn, entry) {
            previous.cancel();
        }
        TaskGuard { task_registry: self.clone(), turn, number }
    }

    /// Keeps the handle by which the task of the entry of this number is cancelled.
    pub(super) fn set_handle(&self, turn: TurnId, number: u64, handle: AbortHandle) {
        let mut running = self.lock();
        match running.entries.get_mut(&turn).filter(|entry| entry.number == number) {
            Some(entry) if entry.is_cancelled => handle.abort(),
            Some(entry) => entry.handle = Some(handle),
            // The task has ended already.
            None => {}
        }
    }

    /// Cancels the task of a turn that someone else has ended.
    pub(super) fn cancel(&self, turn: TurnId) {
        if let Some(entry) = self.lock().entries.get_mut(&turn) {
            entry.cancel();
        }
    }

    pub(super) fn contains(&self, turn: TurnId) -> bool {
        self.lock().entries.contains_key(&turn)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// The turns that run here.
    pub(super) fn turns(&self) -> Vec<TurnId> {
        self.lock().entries.keys().copied().collect()
    }

    /// Waits until a task has ended.
    pub(super) async fn changed(&self) {
        let changed = self.inner.changed.notified();
        if self.count() > 0 {
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskGuard {
    /// What tells this entry from others of the same turn.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let mut running = self.task_registry.lock();
        if running.entries.get(&self.turn).is_some_and(|entry| entry.number == self.number) {
            running.entries.remove(&self.turn);
        }
        drop(running);
        self.task_registry.inner.changed.notify_waiters();
    }
}

/// Compares the books with the store every half lease: what the store says is owned here and no task
/// runs, in two reads running with the same fence, is handed back.
pub(super) async fn reconcile(worker: Worker) {
    let mut missing: HashSet<(TurnId, i64)> = HashSet::new();
    loop {
        tokio::time::sleep(worker.settings.lease.max(Duration::from_secs(1)) / 2).await;
        match reconcile_once(&worker, &missing).await {
            Ok(now_missing) => missing = now_missing,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "own turns could not be read");
            }
        }
    }
}

async fn reconcile_once(
    worker: &Worker,
    missing: &HashSet<(TurnId, i64)>,
) -> Result<HashSet<(TurnId, i64)>, crate::domain::error::Error> {
    let owned =
        worker.services.db.read(async |conn| turns::claims::list_owned(conn, worker.process).await).await?;
    let mut now_missing = HashSet::new();
    for (workspace, conversation, turn, fence) in owned {
        if worker.task_registry.contains(turn) {
            continue;
        }
        if !missing.contains(&(turn, fence)) {
            now_missing.insert((turn, fence));
            continue;
        }
        tracing::warn!(turn.id = %turn, "no task runs a turn that this process owns: it is handed back");
        let turn = TurnRef { workspace, conversation, turn };
        worker.services.writer.hand_back(HandBack { turn, fence, delay: Duration::ZERO }).await?;
    }
    Ok(now_missing)
}
