//! What must follow a restore from a backup before a server starts: a new epoch of event cursors, and the end of the turns that were
//! open at the backup, because their replies may have been given since.

use serde_json::{Value, json};
use uuid::Uuid;

use super::audit_log;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::{Clock, Micros};
use crate::domain::failure::Failure;
use crate::domain::ids::{IdGenerator, WorkspaceId};
use crate::domain::turn::{Turn, TurnEnd, TurnRef};
use crate::store::{Conn, Db, StoreError, Tenant, deliveries, epoch, events, turns};
use crate::writer::{EndAuthority, EndTurn, TurnWriteOutcome, decide_inline};

/// Turns that are read at once.
const BATCH: i64 = 200;

/// Workspaces whose counters one transaction raises.
const WORKSPACE_BATCH: i64 = 1000;

/// Why a restored database was not made ready, or not completely. The same can be done again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something else works on the database.
    #[error("a server has started meanwhile: stop it, and run this command again")]
    InUse,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreResult {
    /// The time of the newest event of the backup, if it has any.
    pub newest_event: Option<Micros>,
    pub epoch: i64,
    /// The turns that were open, which have failed and were refunded.
    pub failed_turns: usize,
    /// The deliveries that are sent when a server starts, perhaps once more.
    pub open_deliveries: i64,
}

/// Makes a restored database ready for a server. No server may be running. Doing it again is harmless.
pub async fn finish(db: &Db, clock: &dyn Clock, ids: &IdGenerator) -> Result<RestoreResult, RestoreError> {
    // Over all workspaces, so it may take longer than a read of a request.
    let newest_event = events::newest(db.acquire_read().await?.conn()).await?;
    let epoch = begin_epoch(db, clock, ids).await?;
    let failed_turns = fail_open_turns(db, clock, ids).await?;
    let open_deliveries = deliveries::count_open(db.acquire_read().await?.conn()).await?;
    Ok(RestoreResult { newest_event, epoch, failed_turns, open_deliveries })
}

/// Begins an epoch before anything else, so that old cursors are refused even if what follows is interrupted and not done again.
async fn begin_epoch(db: &Db, clock: &dyn Clock, ids: &IdGenerator) -> Result<i64, StoreError> {
    let begin = async |mut conn: Conn<'_>| {
        let now = clock.now();
        let epoch = epoch::begin(conn.reborrow(), now).await?;
        let actor = Actor::command("rejoinder restored");
        let entry = AuditEntry {
            workspace: None,
            actor: &actor,
            action: AuditAction::Updated,
            object: AuditObject::new(ObjectKind::Database, "database", None),
            before: Value::Null,
            after: json!({ "epoch": epoch }),
        };
        audit_log::record(conn, clock, ids, &entry).await?;
        Ok(epoch)
    };
    let epoch = db.write(Tenant::Process, begin).await?;
    let mut last = WorkspaceId(Uuid::nil());
    loop {
        let raise = async |conn: Conn<'_>| epoch::raise_counters(conn, epoch, last, WORKSPACE_BATCH).await;
        let Some(raised) = db.write(Tenant::Process, raise).await? else { return Ok(epoch) };
        last = raised;
    }
}

/// Ends all open turns, with events of the new epoch. Returns their number.
async fn fail_open_turns(db: &Db, clock: &dyn Clock, ids: &IdGenerator) -> Result<usize, RestoreError> {
    let mut failed_turns = 0;
    loop {
        let open = db.read(Tenant::Process, async |conn| turns::open::list(conn, BATCH).await).await?;
        if open.is_empty() {
            return Ok(failed_turns);
        }
        let mut failed = 0;
        for turn in &open {
            failed += usize::from(fail(db, clock, ids, turn).await?);
        }
        if failed == 0 {
            return Err(RestoreError::InUse);
        }
        failed_turns += failed;
    }
}

/// Ends a turn without a reply, and refunds it. Returns false if it has changed since it was read.
async fn fail(db: &Db, clock: &dyn Clock, ids: &IdGenerator, turn: &Turn) -> Result<bool, StoreError> {
    let command = EndTurn {
        turn: TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id },
        authority: EndAuthority::Overdue { fence: turn.fence },
        end: TurnEnd::Failed(Failure::DatabaseRestored),
        journal: None,
        model_error: None,
        tokens: 0,
    };
    let mut tx = db.begin().await?;
    let decided = decide_inline(tx.conn(), clock, ids, &command).await?;
    tx.commit().await?;
    Ok(matches!(decided, Ok(TurnWriteOutcome::Accepted(_))))
}
