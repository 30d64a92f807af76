//! A batch whose commit was sent and never answered. It was one transaction, so
//! one row of it tells whether all of it is there.

use super::WriterContext;
use super::batch::Done;
use crate::domain::batch::{JournalRow, Tables, Written};
use crate::domain::event::Event;
use crate::domain::ids::{EventId, WorkspaceId};
use crate::domain::turn::Turn;
use crate::store::db::WRITE;
use crate::store::{StoreError, Tx, events, journal, turns, workspaces};

/// What the batch came to, if it was committed.
pub(super) struct Unknown {
    pub done: Done,
    pub witness: Witness,
}

/// A row that is there if, and only if, the batch was committed.
pub(super) enum Witness {
    Event(WorkspaceId, i64, EventId),
    /// Turns as they were written. One that has changed since was its owner's no more, either way.
    Turns(Vec<Turn>),
    /// The result of a call.
    Result(Box<JournalRow>),
    /// To decide the same again does no harm: journal rows, links and holds keep what came first.
    NotNeeded,
}

impl Witness {
    pub(super) fn of(tables: &Tables, written: &Written) -> Self {
        if let Some(Event { workspace, cursor, id, .. }) = written.events.first() {
            return Self::Event(*workspace, *cursor, *id);
        }
        if !written.turns.is_empty() {
            return Self::Turns(
                written.turns.iter().filter_map(|id| tables.turns.get(id)).cloned().collect(),
            );
        }
        written.results.first().map_or(Self::NotNeeded, |row| Self::Result(Box::new(row.clone())))
    }

    /// Whether the batch was committed. It is looked for under the batch's first lock: once that is
    /// had, the old transaction has ended.
    pub(super) async fn is_there(&self, context: &WriterContext) -> Result<bool, StoreError> {
        let workspace = match self {
            Self::Event(workspace, ..) => *workspace,
            Self::Turns(turns) => match turns.first() {
                Some(turn) => turn.workspace,
                None => return Ok(false),
            },
            Self::Result(row) => row.turn.workspace,
            Self::NotNeeded => return Ok(false),
        };
        let look = async {
            let mut tx = context.db.begin().await?;
            workspaces::lock(tx.conn(), &[workspace].into()).await?;
            match self {
                Self::Event(_, cursor, id) => events::is_there(tx.conn(), workspace, *cursor, *id).await,
                Self::Turns(turns) => is_one_there(&mut tx, turns).await,
                Self::Result(row) => {
                    let kept = journal::list(tx.conn(), row.turn).await?;
                    Ok(kept.iter().any(|kept| is_result(kept, row)))
                }
                Self::NotNeeded => Ok(false),
            }
        };
        tokio::time::timeout(WRITE, look).await.unwrap_or(Err(StoreError::TimedOut))
    }
}

async fn is_one_there(tx: &mut Tx, turns: &[Turn]) -> Result<bool, StoreError> {
    for turn in turns {
        if turns::find(tx.conn(), turn.workspace, turn.id).await?.is_some_and(|found| found == *turn) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_result(kept: &JournalRow, written: &JournalRow) -> bool {
    let of = |row: &JournalRow| (row.step, row.position, row.finished_at);
    of(kept) == of(written) && kept.result == written.result
}
