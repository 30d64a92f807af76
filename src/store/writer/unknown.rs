//! A batch whose commit was sent and never answered. It was one transaction, so
//! one row of it tells whether all of it is there.

use super::WriterContext;
use super::batch::Done;
use crate::domain::batch::{Tables, Written};
use crate::domain::event::Event;
use crate::domain::ids::{EventId, WorkspaceId};
use crate::domain::turn::Turn;
use crate::store::db::WRITE;
use crate::store::{StoreError, events, turns, workspaces};

/// What the batch came to, if it was committed.
pub(super) struct Unknown {
    pub done: Done,
    pub witness: Witness,
}

/// A row that is there if, and only if, the batch was committed.
pub(super) enum Witness {
    Event(WorkspaceId, i64, EventId),
    /// A turn as it was written. Where it has changed since, its owner was overtaken either way.
    Turn(Box<Turn>),
    /// To decide the same again does no harm: journal rows, bookings and links keep their first ids.
    NotNeeded,
}

impl Witness {
    pub(super) fn of(tables: &Tables, written: &Written) -> Self {
        if let Some(Event { workspace, cursor, id, .. }) = written.events.first() {
            return Self::Event(*workspace, *cursor, *id);
        }
        let turn = written.turns.first().and_then(|id| tables.turns.get(id));
        turn.map_or(Self::NotNeeded, |turn| Self::Turn(Box::new(turn.clone())))
    }

    /// Whether the batch was committed. It is looked for under the batch's first lock: once that is
    /// had, the old transaction has ended.
    pub(super) async fn is_there(&self, context: &WriterContext) -> Result<bool, StoreError> {
        let workspace = match self {
            Self::Event(workspace, ..) => *workspace,
            Self::Turn(turn) => turn.workspace,
            Self::NotNeeded => return Ok(false),
        };
        let look = async {
            let mut tx = context.db.begin().await?;
            workspaces::lock(tx.conn(), &[workspace].into()).await?;
            match self {
                Self::Event(_, cursor, id) => events::is_there(tx.conn(), workspace, *cursor, *id).await,
                Self::Turn(turn) => {
                    let found = turns::find(tx.conn(), workspace, turn.id).await?;
                    Ok(found.is_some_and(|found| found == **turn))
                }
                Self::NotNeeded => Ok(false),
            }
        };
        tokio::time::timeout(WRITE, look).await.unwrap_or(Err(StoreError::TimedOut))
    }
}
