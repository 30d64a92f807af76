//! A batch whose commit was sent and not answered. It was one transaction, so one of its rows shows whether all of it was
//! committed.

use super::WriterContext;
use super::batch::{ChangeSet, Tables};
use super::transaction::CommittedBatch;
use crate::domain::event::Event;
use crate::domain::ids::{EventId, WorkspaceId};
use crate::domain::journal::JournalRow;
use crate::domain::turn::Turn;
use crate::store::db::WRITE_TIMEOUT;
use crate::store::turns::journal;
use crate::store::{StoreError, Tx, events, turns, workspaces};

/// A batch, and how to find out whether it was committed.
pub(super) struct UncertainCommit {
    pub batch: CommittedBatch,
    pub probe: CommitProbe,
}

/// A row that exists if, and only if, the batch was committed.
pub(super) enum CommitProbe {
    Event(WorkspaceId, i64, EventId),
    /// The turns as the batch wrote them. If all have changed since, this process no longer owns them, so deciding again changes
    /// nothing but the count of tokens.
    Turns(Vec<Turn>),
    /// The answer of a model, or the result of a tool call.
    Journal(Box<JournalRow>),
    /// The batch wrote no event, turn, answer or result. Deciding its commands again is harmless, as [`Command`](super::commands::Command) requires.
    NotNeeded,
}

impl CommitProbe {
    pub(super) fn for_batch(tables: &Tables, changes: &ChangeSet) -> Self {
        if let Some(Event { workspace, cursor, id, .. }) = changes.events.first() {
            return Self::Event(*workspace, *cursor, *id);
        }
        if !changes.turns.is_empty() {
            return Self::Turns(
                changes.turns.iter().filter_map(|id| tables.turns.get(id)).cloned().collect(),
            );
        }
        // An answer first: unlike that of a call, its row never changes.
        let answer = changes.journal.iter().find(|row| row.position == 0);
        let row = answer.or(changes.results.first());
        row.map_or(Self::NotNeeded, |row| Self::Journal(Box::new(row.clone())))
    }

    /// Whether the batch was committed. The lock of its workspace is taken first: then its transaction has ended.
    pub(super) async fn is_committed(&self, context: &WriterContext) -> Result<bool, StoreError> {
        let workspace = match self {
            Self::Event(workspace, ..) => *workspace,
            Self::Turns(turns) => match turns.first() {
                Some(turn) => turn.workspace,
                None => return Ok(false),
            },
            Self::Journal(row) => row.turn.workspace,
            Self::NotNeeded => return Ok(false),
        };
        let probe = async {
            let mut tx = context.db.begin().await?;
            workspaces::lock(tx.conn(), &[workspace].into()).await?;
            match self {
                Self::Event(_, cursor, id) => events::exists(tx.conn(), workspace, *cursor, *id).await,
                Self::Turns(turns) => is_any_unchanged(&mut tx, turns).await,
                Self::Journal(row) => {
                    let rows = journal::list(tx.conn(), row.turn).await?;
                    Ok(rows.iter().any(|stored| is_same_row(stored, row)))
                }
                Self::NotNeeded => Ok(false),
            }
        };
        tokio::time::timeout(WRITE_TIMEOUT, probe).await.unwrap_or(Err(StoreError::TimedOut))
    }
}

async fn is_any_unchanged(tx: &mut Tx, turns: &[Turn]) -> Result<bool, StoreError> {
    for turn in turns {
        if turns::find(tx.conn(), turn.workspace, turn.id).await?.is_some_and(|found| found == *turn) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_same_row(stored: &JournalRow, expected: &JournalRow) -> bool {
    let key = |row: &JournalRow| (row.step, row.position, row.finished_at);
    key(stored) == key(expected) && stored.result == expected.result
}
