//! Removes what workspaces keep for a time only: conversations by an erasure, journals, and the content of bookings.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureReason, ErasureTarget};
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, ConversationId, TurnId, WorkspaceId, uuid_v7_floor};
use crate::service::{erasures, usage};
use crate::store::erasures::{bookings, is_retaining, targets};
use crate::store::retention::{self, RetainingWorkspace};
use crate::store::{Conn, StoreError, Tenant, audit};
use crate::worker::Worker;

const INTERVAL: Duration = Duration::from_hours(1);
/// How many workspaces one query lists at most.
const WORKSPACE_BATCH: i64 = 100;
/// How many rows one transaction changes at most.
const BATCH: i64 = 256;
/// How many transactions of one kind a workspace has in one round, so that one with a large backlog delays the others little.
const SHARE: usize = 64;
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Removes until the process stops.
pub(in crate::worker) async fn run(worker: Worker) {
    loop {
        worker.failures.record("retentions could not be applied", apply(&worker).await);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Applies the retentions of all workspaces, in rounds of fair shares.
pub(in crate::worker) async fn apply(worker: &Worker) -> Result<(), Error> {
    while apply_once(worker).await? {}
    Ok(())
}

/// One round. Returns true if some workspace has used its share.
async fn apply_once(worker: &Worker) -> Result<bool, Error> {
    let mut after = WorkspaceId(Uuid::nil());
    let mut has_more = false;
    loop {
        let list = async |conn: Conn<'_>| retention::list_workspaces(conn, after, WORKSPACE_BATCH).await;
        let page = worker.services.db.read(Tenant::Process, list).await?;
        let Some(end) = page.last() else { return Ok(has_more) };
        after = end.workspace;
        for retaining in page {
            // An error of one does not affect the others.
            let applied = apply_to(worker, &retaining).await;
            has_more |= worker.failures.record("a retention could not be applied", applied) == Some(true);
        }
    }
}

async fn apply_to(worker: &Worker, retaining: &RetainingWorkspace) -> Result<bool, Error> {
    let (workspace, retention) = (retaining.workspace, retaining.retention);
    let now = worker.services.clock.now();
    if let Some(age) = retention.conversations {
        erase_inactive(worker, workspace, now.minus(age)).await?;
    }
    if retention.journals.is_some() {
        usage::catch_up(&worker.services.db, workspace).await?;
    }
    let since = |age: Option<Duration>| age.map(|age| now.minus(age));
    let expiries = [
        since(retention.journals).map(|at| Expiry::Journals(TurnId(uuid_v7_floor(at)))),
        since(retention.bookings).map(Expiry::Bookings),
    ];
    let mut has_more = false;
    for expiry in expiries.into_iter().flatten() {
        has_more |= expire(worker, workspace, expiry).await?;
    }
    Ok(has_more)
}

/// Expired data other than conversations.
#[derive(Clone, Copy)]
enum Expiry {
    /// Of turns before this one.
    Journals(TurnId),
    Bookings(Micros),
}

impl Expiry {
    /// Its name in the retention of a workspace.
    fn name(self) -> &'static str {
        match self {
            Self::Journals(_) => "journals",
            Self::Bookings(_) => "bookings",
        }
    }
}

/// Removes expired data, with one entry in the audit log. Returns true if the share of the workspace is used up before everything is removed.
async fn expire(worker: &Worker, workspace: WorkspaceId, expiry: Expiry) -> Result<bool, Error> {
    let services = &worker.services;
    let (entry, mut total) = (AuditId(services.ids.uuid_v7(services.clock.as_ref())), 0);
    for _ in 0..SHARE {
        let remove = async |mut conn: Conn<'_>| {
            let removed = match expiry {
                Expiry::Journals(before) => {
                    retention::remove_journals(conn.reborrow(), workspace, before, BATCH).await?
                        + retention::clear_model_errors(conn.reborrow(), workspace, before, BATCH).await?
                }
                Expiry::Bookings(before) => {
                    bookings::expire(conn.reborrow(), workspace, before, BATCH).await?
                }
            };
            if removed > 0 {
                let before = total;
                total += removed;
                record(worker, conn, (workspace, expiry), entry, [before, total]).await?;
            }
            Ok(removed)
        };
        if services.db.write(workspace, remove).await? == 0 {
            return Ok(false);
        }
        worker.remnants.clean_soon();
        tokio::time::sleep(PAUSE).await;
    }
    Ok(true)
}

/// Adds the entry of a sweep in its first transaction, and updates its number of rows in the others: `[before, after]` the transaction.
async fn record(
    worker: &Worker,
    conn: Conn<'_>,
    (workspace, expiry): (WorkspaceId, Expiry),
    id: AuditId,
    [before, after]: [u64; 2],
) -> Result<(), StoreError> {
    let (actor, object) = (Actor::server(), AuditObject::new(ObjectKind::Retention, expiry.name(), None));
    let entry = AuditEntry::new(workspace, &actor, AuditAction::Deleted, object);
    let entry = entry.with_changes(Value::Null, json!({ "removed": after }));
    if before == 0 {
        audit::insert(conn, id, worker.services.clock.now(), &entry).await
    } else {
        audit::update_after(conn, id, &entry.after).await
    }
}

/// Begins an erasure of the conversations without a message since a time, if there are any and none is running.
async fn erase_inactive(worker: &Worker, workspace: WorkspaceId, since: Micros) -> Result<(), Error> {
    let services = &worker.services;
    let read = async |conn: Conn<'_>| is_retaining(conn, workspace).await;
    if services.db.read(workspace, read).await? {
        return Ok(());
    }
    let mut scanned: Option<(Micros, ConversationId)> = None;
    loop {
        let list = async |conn: Conn<'_>| targets::list_old(conn, workspace, since, scanned, BATCH).await;
        let old = services.db.read(workspace, list).await?;
        if old.iter().any(|conversation| conversation.is_inactive) {
            break;
        }
        let Some(newest) = old.last() else { return Ok(()) };
        scanned = Some((newest.created_at, newest.id));
    }
    let target = ErasureTarget::Inactive { since, scanned };
    let erasure = erasures::new_erasure(services, workspace, ErasureReason::Retention, target);
    Ok(erasures::store(services, &erasure).await?)
}
