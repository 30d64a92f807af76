//! Indexes messages for lists and searches, a few at a time from each workspace in turn, so that a flood of messages in one delays no
//! other. The batches of this process mark their workspaces; those of processes that died are found by a sweep.

use std::collections::BTreeSet;
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

/// Indexes until the process stops.
pub(in crate::worker) async fn index(worker: Worker) {
    let mut next_sweep = Instant::now();
    loop {
        if Instant::now() >= next_sweep {
            worker.failures.record("messages to index could not be found", mark_behind(&worker).await);
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        let workspaces = worker.unindexed.take();
        let mut has_more = false;
        if workspaces.is_empty() {
            let pause = next_sweep.saturating_duration_since(Instant::now());
            // Either way the set is looked at again.
            let _ = tokio::time::timeout(pause, worker.unindexed.changed.notified()).await;
        } else {
            let each = futures::stream::iter(workspaces).map(|workspace| index_one(&worker, workspace));
            let each = each.buffer_unordered(CONCURRENCY);
            has_more = each.fold(false, |more, one| std::future::ready(more || one)).await;
        }
        tokio::time::sleep(if has_more { BUSY_PAUSE } else { PAUSE }).await;
    }
}

/// Indexes the next messages of a workspace, and marks it again if there are more or it failed. Returns whether there are more.
async fn index_one(worker: &Worker, workspace: WorkspaceId) -> bool {
    let indexed = index_next(&worker.services, workspace).await;
    let has_more = worker.failures.record("messages could not be indexed", indexed);
    if has_more.unwrap_or(true) {
        worker.unindexed.mark(workspace);
    }
    has_more.unwrap_or(false)
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
