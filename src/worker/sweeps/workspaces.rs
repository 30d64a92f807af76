//! Suspended workspaces lose their open turns, and deleted ones all their rows but the ledger, the usage and the audit log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::service::usage;
use crate::store::turns::open;
use crate::store::{Conn, StoreError, Tenant, workspace_removal, workspaces};
use crate::worker::Worker;
use crate::worker::sweeps::remnants::CleaningRequest;
use crate::writer::DiscardSuspended;

const INTERVAL: Duration = Duration::from_secs(1);
/// How many workspaces one round works on.
const WORKSPACES: i64 = 100;
/// How many conversations are decided at once.
const CONVERSATIONS: i64 = 256;
/// How many rows one transaction removes at most.
const ROWS: i64 = 256;
/// How long the rows of a deleted workspace stay: until every process rejects its keys, so that none writes rows that nothing would remove.
const GRACE: Duration = Duration::from_secs(5);
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Discards the open turns of suspended workspaces until the process stops.
pub(in crate::worker) async fn discard_suspended(worker: Worker) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let discarded = discard_all(&worker).await;
        worker.failures.record("turns of suspended workspaces could not be discarded", discarded);
    }
}

async fn discard_all(worker: &Worker) -> Result<(), Error> {
    let db = &worker.services.db;
    let list = async |conn: Conn<'_>| workspaces::list_suspended_with_turns(conn, WORKSPACES).await;
    let suspended = db.control_read(list).await?;
    // Concurrently, so that one with many turns delays no other.
    let discarded = join_all(suspended.into_iter().map(|workspace| discard_of(worker, workspace))).await;
    discarded.into_iter().collect()
}

async fn discard_of(worker: &Worker, workspace: WorkspaceId) -> Result<(), Error> {
    let services = &worker.services;
    let list = async |conn: Conn<'_>| open::list_conversations(conn, workspace, CONVERSATIONS).await;
    let conversations = services.db.control_read(list).await?;
    let discard = |conversation| services.writer.execute(DiscardSuspended { workspace, conversation });
    join_all(conversations.into_iter().map(discard)).await.into_iter().collect()
}

/// The removal of a deleted workspace by this process.
struct Removal {
    listed_at: Instant,
    /// The cleaning of the files after its last rows were removed.
    cleaning: Option<CleaningRequest>,
}

impl Removal {
    fn new() -> Self {
        Self { listed_at: Instant::now(), cleaning: None }
    }
}

/// Removes the rows of deleted workspaces until the process stops.
pub(in crate::worker) async fn remove_deleted(worker: Worker) {
    let mut removals = HashMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let removed = remove_all(&worker, &mut removals).await;
        worker.failures.record("deleted workspaces could not be listed", removed);
    }
}

/// Removes all deleted workspaces without open turns. Whatever stops it, the next round of any process goes on.
async fn remove_all(worker: &Worker, removals: &mut HashMap<WorkspaceId, Removal>) -> Result<(), StoreError> {
    let list = async |conn: Conn<'_>| workspaces::list_deleted(conn, WORKSPACES).await;
    let deleted = worker.services.db.control_read(list).await?;
    removals.retain(|workspace, _| deleted.contains(workspace));
    for workspace in deleted {
        let removal = removals.entry(workspace).or_insert_with(Removal::new);
        if removal.listed_at.elapsed() < GRACE {
            continue;
        }
        let removed = remove(worker, workspace, removal).await;
        worker.failures.record("a deleted workspace could not be removed", removed);
    }
    Ok(())
}

/// Removes the rows of a workspace, and the workspace itself once the files have no remnants of the rows either.
async fn remove(worker: &Worker, workspace: WorkspaceId, removal: &mut Removal) -> Result<(), StoreError> {
    usage::catch_up(&worker.services.db, workspace).await?;
    let mut has_removed = removal.cleaning.is_none();
    while remove_from_all_tables(worker, workspace).await? > 0 {
        has_removed = true;
    }
    if has_removed {
        removal.cleaning = Some(worker.remnants.clean_soon());
    }
    if removal.cleaning.is_some_and(|cleaning| !worker.remnants.is_met(cleaning)) {
        return Ok(());
    }
    let now = worker.services.clock.now();
    let finish = async |conn: Conn<'_>| workspace_removal::finish(conn, workspace, now).await;
    worker.services.db.write(Tenant::Process, finish).await?;
    worker.remnants.clean_soon();
    tracing::info!(%workspace, "a deleted workspace was removed");
    Ok(())
}

/// Returns how many rows were removed.
async fn remove_from_all_tables(worker: &Worker, workspace: WorkspaceId) -> Result<u64, StoreError> {
    let mut all = 0;
    for table in workspace_removal::REMOVED_TABLES {
        loop {
            let remove =
                async |conn: Conn<'_>| workspace_removal::remove_rows(conn, table, workspace, ROWS).await;
            let removed = worker.services.db.write(Tenant::Process, remove).await?;
            if removed == 0 {
                break;
            }
            all += removed;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(all)
}
