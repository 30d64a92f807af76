//! Removes what is kept no longer, a little at a time: events with their deliveries and attempts, keys of
//! idempotency, leases that are over, and what deleted endpoints and knowledge bases have left.

use std::time::Duration;

use uuid::Uuid;

use super::Worker;
use crate::domain::ids::WorkspaceId;
use crate::store::archived_endpoints::{self, Archived};
use crate::store::knowledge_bases::Deleted;
use crate::store::{Conn, StoreError, idempotency, knowledge_bases, processes, retention};

const EVERY: Duration = Duration::from_mins(1);
/// Rows of one transaction.
const BATCH: i64 = 256;
/// Between two of them, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// Workspaces of one look.
const WORKSPACES: i64 = 1000;
/// A lease that is over stays for whoever looks into what a dead process left.
const LEASES_KEPT: Duration = Duration::from_hours(24);

/// Removes until the process stops.
pub(super) async fn remove(worker: Worker) {
    loop {
        note("keys", remove_keys(&worker).await);
        note("leases", remove_leases(&worker).await);
        note("endpoints", remove_archived(&worker).await);
        note("knowledge bases", remove_knowledge_bases(&worker).await);
        note("events", remove_events(&worker).await);
        tokio::time::sleep(EVERY).await;
    }
}

/// What could not be removed is tried again in the next round, and holds up nothing else.
fn note(what: &'static str, removed: Result<(), StoreError>) {
    if let Err(error) = removed {
        tracing::warn!(error = &error as &dyn std::error::Error, "old {what} could not be removed");
    }
}

async fn remove_keys(worker: &Worker) -> Result<(), StoreError> {
    let (db, clock) = (&worker.services.db, worker.services.clock.as_ref());
    while db.writing(async |conn| idempotency::sweep(conn, BATCH, clock).await).await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn remove_leases(worker: &Worker) -> Result<(), StoreError> {
    let clock = worker.services.clock.as_ref();
    worker.services.db.writing(async |conn| processes::sweep(conn, LEASES_KEPT, clock).await).await
}

async fn remove_archived(worker: &Worker) -> Result<(), StoreError> {
    for archived in worker.services.db.reading(archived_endpoints::list).await? {
        note("deliveries", remove_what_is_left_of(worker, archived).await);
    }
    Ok(())
}

async fn remove_knowledge_bases(worker: &Worker) -> Result<(), StoreError> {
    for deleted in worker.services.db.reading(knowledge_bases::list_deleted).await? {
        note("documents", remove_knowledge_base(worker, deleted).await);
    }
    Ok(())
}

async fn remove_knowledge_base(worker: &Worker, deleted: Deleted) -> Result<(), StoreError> {
    let db = &worker.services.db;
    while db.writing(async |conn| knowledge_bases::remove(conn, deleted).await).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn remove_what_is_left_of(worker: &Worker, archived: Archived) -> Result<(), StoreError> {
    let (db, clock) = (&worker.services.db, worker.services.clock.as_ref());
    while db.writing(async |conn| archived_endpoints::close(conn, archived, BATCH, clock).await).await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    let is_deleted = !archived.from_file;
    while is_deleted
        && db.writing(async |conn| archived_endpoints::remove(conn, archived, BATCH).await).await? > 0
    {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes all events that are too old now.
pub(super) async fn remove_events(worker: &Worker) -> Result<(), StoreError> {
    let (kept, clock) = (worker.settings.events_kept, worker.services.clock.as_ref());
    let mut after = WorkspaceId(Uuid::nil());
    loop {
        let list = async |conn: Conn<'_>| retention::list_overdue(conn, kept, after, WORKSPACES, clock).await;
        let overdue = worker.services.db.reading(list).await?;
        let Some(furthest) = overdue.last() else { return Ok(()) };
        after = *furthest;
        for workspace in overdue {
            note("events", remove_events_of(worker, workspace).await);
        }
    }
}

async fn remove_events_of(worker: &Worker, workspace: WorkspaceId) -> Result<(), StoreError> {
    let (kept, clock) = (worker.settings.events_kept, worker.services.clock.as_ref());
    let db = &worker.services.db;
    let pass = async |conn: Conn<'_>| retention::pass_over(conn, workspace, kept, BATCH, clock).await;
    let remove = async |conn: Conn<'_>| retention::remove(conn, workspace, BATCH).await;
    loop {
        let passed = db.writing(pass).await?;
        let removed = db.writing(remove).await?;
        if passed == 0 && removed == 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
