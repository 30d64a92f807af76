//! Removes expired rows in small batches: addresses of the audit log, events with their deliveries and attempts, idempotency keys, expired leases,
//! notices that a person types, conversations that were never used, and the rows of deleted endpoints and knowledge bases.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::ids::WorkspaceId;
use crate::service::index_messages::index_next;
use crate::service::typing;
use crate::service::usage::catch_up;
use crate::store::events::retention;
use crate::store::knowledge::knowledge_bases;
use crate::store::knowledge::knowledge_bases::DeletedKnowledgeBase;
use crate::store::untouched::{self, Removal};
use crate::store::webhook_endpoints;
use crate::store::webhook_endpoints::archived::ArchivedEndpoint;
use crate::store::{Conn, StoreError, Tenant, audit, idempotency, processes};
use crate::worker::{UntouchedLimits, Worker};

const INTERVAL: Duration = Duration::from_mins(1);
/// How many rows one transaction removes at most.
const BATCH: i64 = 256;
/// How many untouched conversations one transaction removes at most.
const UNTOUCHED_BATCH: i64 = 32;
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// How many workspaces one query lists at most.
const WORKSPACE_BATCH: i64 = 1000;
/// Expired leases are kept for a day, for the diagnosis of dead processes.
const LEASE_RETENTION: Duration = Duration::from_hours(24);

/// Removes until the process stops.
pub(in crate::worker) async fn remove(worker: Worker) {
    loop {
        // First, because visitors of a workspace at its limit wait for it.
        log_failure("untouched conversations", remove_untouched(&worker).await);
        log_failure("keys", remove_keys(&worker).await);
        log_failure("addresses", remove_addresses(&worker).await);
        log_failure("leases", remove_leases(&worker).await);
        log_failure("notices of typing", typing::sweep(&worker.services).await);
        log_failure("endpoints", remove_archived(&worker).await);
        log_failure("knowledge bases", remove_knowledge_bases(&worker).await);
        log_failure("events", remove_events(&worker).await);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A failed removal is repeated in the next round, and does not prevent the others.
fn log_failure(what: &'static str, removed: Result<(), StoreError>) {
    if let Err(error) = removed {
        tracing::warn!(error = &error as &dyn std::error::Error, "old {what} could not be removed");
    }
}

async fn remove_keys(worker: &Worker) -> Result<(), StoreError> {
    let (db, clock) = (&worker.services.db, worker.services.clock.as_ref());
    while db.write(Tenant::Process, async |conn| idempotency::sweep(conn, BATCH, clock).await).await? > 0 {
        worker.remnants.clean_later();
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes the addresses of old entries of the audit log.
pub(in crate::worker) async fn remove_addresses(worker: &Worker) -> Result<(), StoreError> {
    let before = worker.services.clock.now().minus(worker.settings.address_retention);
    let remove = async |conn: Conn<'_>| audit::remove_addresses(conn, before, BATCH).await;
    while worker.services.db.write(Tenant::Process, remove).await? > 0 {
        worker.remnants.clean_later();
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn remove_leases(worker: &Worker) -> Result<(), StoreError> {
    let (db, clock) = (&worker.services.db, worker.services.clock.as_ref());
    db.write(Tenant::Process, async |conn| processes::sweep(conn, LEASE_RETENTION, clock).await).await
}

async fn remove_archived(worker: &Worker) -> Result<(), StoreError> {
    for archived in worker.services.db.read(Tenant::Process, webhook_endpoints::archived::list).await? {
        log_failure("deliveries", remove_archived_endpoint(worker, archived).await);
    }
    Ok(())
}

async fn remove_knowledge_bases(worker: &Worker) -> Result<(), StoreError> {
    for deleted in worker.services.db.read(Tenant::Process, knowledge_bases::list_deleted).await? {
        log_failure("documents", remove_knowledge_base(worker, deleted).await);
    }
    Ok(())
}

async fn remove_knowledge_base(worker: &Worker, deleted: DeletedKnowledgeBase) -> Result<(), StoreError> {
    let db = &worker.services.db;
    let remove = async |conn: Conn<'_>| knowledge_bases::remove(conn, deleted).await;
    while db.write(Tenant::Process, remove).await? {
        worker.remnants.clean_later();
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn remove_archived_endpoint(worker: &Worker, archived: ArchivedEndpoint) -> Result<(), StoreError> {
    let (db, clock) = (&worker.services.db, worker.services.clock.as_ref());
    let close = async |conn: Conn<'_>| {
        webhook_endpoints::archived::close_deliveries(conn, archived, BATCH, clock).await
    };
    while db.write(Tenant::Process, close).await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    let is_deleted = !archived.from_file;
    let remove = async |conn: Conn<'_>| webhook_endpoints::archived::remove(conn, archived, BATCH).await;
    while is_deleted && db.write(Tenant::Process, remove).await? > 0 {
        worker.remnants.clean_later();
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes the conversations that visitors created and did not use in time, and the oldest of a workspace that has too many: otherwise
/// one visitor who creates many would keep all others from creating one. Each transaction removes a few, because it locks their
/// workspace.
pub(in crate::worker) async fn remove_untouched(worker: &Worker) -> Result<(), StoreError> {
    let Some(UntouchedLimits { max_age, max_kept }) = worker.settings.untouched else { return Ok(()) };
    let db = &worker.services.db;
    let removal = Removal { before: worker.services.clock.now().minus(max_age), max: max_kept };
    loop {
        let list = async |conn: Conn<'_>| untouched::list_workspaces(conn, removal, WORKSPACE_BATCH).await;
        let mut removed = 0;
        for workspace in db.read(Tenant::Process, list).await? {
            // Their first messages count.
            catch_up(db, workspace).await?;
            let remove =
                async |conn: Conn<'_>| untouched::remove(conn, workspace, removal, UNTOUCHED_BATCH).await;
            removed += db.write(Tenant::Process, remove).await?;
            tokio::time::sleep(PAUSE).await;
        }
        if removed == 0 {
            return Ok(());
        }
        worker.remnants.clean_later();
    }
}

/// Removes all expired events.
pub(in crate::worker) async fn remove_events(worker: &Worker) -> Result<(), StoreError> {
    let (max_age, clock) = (worker.settings.event_retention, worker.services.clock.as_ref());
    let mut after = WorkspaceId(Uuid::nil());
    loop {
        let query = async |conn: Conn<'_>| {
            retention::list_expired(conn, max_age, after, WORKSPACE_BATCH, clock).await
        };
        let overdue = worker.services.db.read(Tenant::Process, query).await?;
        let Some(last) = overdue.last() else { return Ok(()) };
        after = *last;
        for workspace in overdue {
            log_failure("events", remove_events_of(worker, workspace).await);
        }
    }
}

async fn remove_events_of(worker: &Worker, workspace: WorkspaceId) -> Result<(), StoreError> {
    let (max_age, clock) = (worker.settings.event_retention, worker.services.clock.as_ref());
    let db = &worker.services.db;
    catch_up(db, workspace).await?;
    // An event that is removed before the index follows it leaves its messages out for ever.
    while index_next(&worker.services, workspace).await? {
        tokio::time::sleep(PAUSE).await;
    }
    let advance_cursor =
        async |conn: Conn<'_>| retention::advance_cursor(conn, workspace, max_age, BATCH, clock).await;
    let remove = async |conn: Conn<'_>| retention::remove(conn, workspace, BATCH).await;
    loop {
        let advanced = db.write(Tenant::Process, advance_cursor).await?;
        let removed = db.write(Tenant::Process, remove).await?;
        if advanced == 0 && removed == 0 {
            return Ok(());
        }
        worker.remnants.clean_later();
        tokio::time::sleep(PAUSE).await;
    }
}
