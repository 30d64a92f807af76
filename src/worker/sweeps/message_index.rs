//! Indexes messages for lists and searches, a few at a time from each workspace in turn, so that a flood of messages in one delays no
//! other. The batches of this process mark their workspaces; those of processes that died are found by a sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::ids::WorkspaceId;
use crate::service::index_messages::index_next;
use crate::store::{Conn, StoreError, Tenant, message_index};
use crate::worker::Worker;

/// How often the workspaces are looked for whose messages are not indexed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The pause between rounds, in which the messages of several batches gather.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause while there is more to index, so that on SQLite the writer gets its turn.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// The pause of a workspace after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How many workspaces are indexed at once.
const CONCURRENCY: usize = 2;
/// How many workspaces one query lists at most.
const WORKSPACE_BATCH: i64 = 1000;

/// The workspaces that have messages to index.
#[derive(Debug, Default)]
pub(in crate::worker) struct UnindexedWorkspaces {
    marked: Mutex<BTreeSet<WorkspaceId>>,
    changed: Notify,
}

impl UnindexedWorkspaces {
    /// The workspace has new events.
    pub(in crate::worker) fn mark(&self, workspace: WorkspaceId) {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace);
        self.changed.notify_one();
    }

    fn take(&self) -> BTreeSet<WorkspaceId> {
        std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The workspaces whose messages could not be indexed, which are tried again after ever longer pauses.
#[derive(Debug, Default)]
struct Pauses(BTreeMap<WorkspaceId, Pause>);

#[derive(Debug)]
struct Pause {
    failures: u32,
    until: Instant,
}

impl Pauses {
    fn is_paused(&self, workspace: WorkspaceId, now: Instant) -> bool {
        self.0.get(&workspace).is_some_and(|pause| pause.until > now)
    }

    /// The workspaces whose pause is over.
    fn due(&self, now: Instant) -> impl Iterator<Item = WorkspaceId> {
        self.0.iter().filter(move |(_, pause)| pause.until <= now).map(|(workspace, _)| *workspace)
    }

    /// When the next pause is over.
    fn next_due(&self) -> Option<Instant> {
        self.0.values().map(|pause| pause.until).min()
    }

    fn record(&mut self, workspace: WorkspaceId, has_failed: bool, now: Instant) {
        if !has_failed {
            self.0.remove(&workspace);
            return;
        }
        let pause = self.0.entry(workspace).or_insert(Pause { failures: 0, until: now });
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(pause.failures).unwrap_or(u32::MAX));
        pause.until = now + doubled.min(LONGEST_PAUSE);
        pause.failures += 1;
    }
}

/// Indexes until the process stops.
pub(in crate::worker) async fn index(worker: Worker) {
    let (mut next_sweep, mut pauses) = (Instant::now(), Pauses::default());
    loop {
        if Instant::now() >= next_sweep {
            worker.failures.record("messages to index could not be found", mark_behind(&worker).await);
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        let now = Instant::now();
        let mut workspaces = worker.unindexed.take();
        workspaces.extend(pauses.due(now));
        workspaces.retain(|workspace| !pauses.is_paused(*workspace, now));
        let mut has_more = false;
        if workspaces.is_empty() {
            let wake_at = pauses.next_due().map_or(next_sweep, |due| due.min(next_sweep));
            let pause = wake_at.saturating_duration_since(Instant::now());
            // Either way the set is looked at again.
            let _ = tokio::time::timeout(pause, worker.unindexed.changed.notified()).await;
        } else {
            let each = futures::stream::iter(workspaces).map(|workspace| index_one(&worker, workspace));
            let outcomes: Vec<_> = each.buffer_unordered(CONCURRENCY).collect().await;
            for (workspace, more) in outcomes {
                pauses.record(workspace, more.is_none(), Instant::now());
                has_more |= more == Some(true);
            }
        }
        tokio::time::sleep(if has_more { BUSY_PAUSE } else { PAUSE }).await;
    }
}

/// Indexes the next messages of a workspace, and marks it again if there are more. Returns whether there are; `None` if it failed.
async fn index_one(worker: &Worker, workspace: WorkspaceId) -> (WorkspaceId, Option<bool>) {
    let indexed = index_next(&worker.services, workspace).await;
    let has_more = worker.failures.record("messages could not be indexed", indexed);
    if has_more == Some(true) {
        worker.unindexed.mark(workspace);
    }
    (workspace, has_more)
}

async fn mark_behind(worker: &Worker) -> Result<(), StoreError> {
    let mut after = WorkspaceId(Uuid::nil());
    loop {
        let read = async |conn: Conn<'_>| message_index::list_behind(conn, after, WORKSPACE_BATCH).await;
        let behind = worker.services.db.read(Tenant::Process, read).await?;
        let Some(last) = behind.last() else { return Ok(()) };
        after = *last;
        for workspace in behind {
            worker.unindexed.mark(workspace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_fails_pauses_ever_longer_and_no_other_does() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let (failing, other) = (WorkspaceId(Uuid::nil()), WorkspaceId(Uuid::max()));
        let mut lengths = Vec::new();
        for _ in 0..40 {
            pauses.record(failing, true, now);
            lengths.push(pauses.next_due().unwrap() - now);
        }

        assert_eq!(lengths[..3], [1, 2, 4].map(Duration::from_secs));
        assert_eq!(lengths[39], LONGEST_PAUSE);
        assert!(pauses.is_paused(failing, now) && !pauses.is_paused(other, now));
        assert_eq!(pauses.due(now).count(), 0);
        assert_eq!(pauses.due(now + LONGEST_PAUSE).collect::<Vec<_>>(), [failing]);

        pauses.record(failing, false, now);
        assert!(!pauses.is_paused(failing, now) && pauses.next_due().is_none());
    }
}
