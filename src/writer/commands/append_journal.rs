//! Journals the progress of a running turn: model answers, tool calls and their results.

use serde_json::Value;

use super::{Command, Decision};
use crate::domain::calendar::BookingWrite;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::journal::JournalRow;
use crate::domain::turn::TurnRef;
use crate::writer::batch::{Batch, LoadPlan, TurnWriteOutcome};

#[derive(Clone, Debug)]
pub struct AppendJournal {
    pub turn: TurnRef,
    pub fence: i64,
    /// New rows: a model answer, and its calls as they start.
    pub rows: Vec<JournalRow>,
    /// The result of a call whose row exists.
    pub result: Option<JournalRow>,
    /// A tool call that writes our own database. Its result is decided here and stored in the row of `result`.
    pub write: Option<BookingWrite>,
}

impl Decision for AppendJournal {
    /// With the result of `write`, if the turn's owner wrote.
    type Reply = (TurnWriteOutcome, Option<Value>);

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        plan.add_turn(&self.turn);
        let lookup = self.write.as_ref().map(|write| write.lookup(&self.turn, now));
        plan.bookings.extend(lookup);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply, Error> {
        let turn = batch.tables.turns.get(&self.turn.turn).cloned().map(Box::new);
        let turn = match turn {
            Some(turn) if batch.owns(&turn, self.fence) => turn,
            turn => return Ok((TurnWriteOutcome::FencedOff(turn), None)),
        };
        batch.changes.journal.extend(self.rows.iter().cloned());
        let decided = self.write.as_ref().map(|write| batch.write_booking(&self.turn, write));
        if let Some(mut row) = self.result.clone() {
            if let Some(result) = &decided {
                row.result = Some(result.to_string());
            }
            batch.changes.results.push(row);
        }
        Ok((TurnWriteOutcome::Accepted(turn), decided))
    }
}

impl Command for AppendJournal {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }

    fn bytes(&self) -> usize {
        let rows = self.rows.iter().chain(&self.result);
        rows.map(|row| row.content.len() + row.result.as_ref().map_or(0, String::len) + 256).sum()
    }
}
