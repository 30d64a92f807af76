//! What must follow a restore from a backup before a server starts: a new epoch of event cursors, and the end of the turns that were
//! open at the backup, because their replies may have been given since.

use crate::domain::clock::{Clock, Micros};
use crate::domain::failure::Failure;
use crate::domain::ids::IdGenerator;
use crate::domain::turn::{Turn, TurnEnd, TurnRef};
use crate::store::{Conn, Db, StoreError, Tenant, deliveries, epoch, events, turns};
use crate::writer::{EndAuthority, EndTurn, TurnWriteOutcome, decide_inline};

/// Turns that are read at once.
const BATCH: i64 = 200;

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
    let newest_event = db.read(Tenant::Process, async |conn| events::newest(conn).await).await?;
    let now = clock.now();
    // First, so that the events of the turns are already of the new epoch.
    let epoch = db.write(Tenant::Process, async |conn| epoch::begin(conn, now).await).await?;
    let mut failed_turns = 0;
    loop {
        let open = db.read(Tenant::Process, async |conn| turns::open::list(conn, BATCH).await).await?;
        if open.is_empty() {
            break;
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
    let open_deliveries =
        db.read(Tenant::Process, async |conn: Conn<'_>| deliveries::count_open(conn).await).await?;
    Ok(RestoreResult { newest_event, epoch, failed_turns, open_deliveries })
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
