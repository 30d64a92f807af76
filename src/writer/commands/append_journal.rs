//! Journals the progress of a running turn: model answers, tool calls and their results.

use serde_json::Value;

use super::{Command, Decision};
use crate::domain::calendar::{Booker, BookingWrite};
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
    /// New rows: a model answer, and its calls that cannot be made.
    pub rows: Vec<JournalRow>,
    /// The calls of the answer that start now. If a token budget is used up, they must not, because no model could answer then.
    pub starting: Vec<JournalRow>,
    /// The result of a call whose row exists.
    pub result: Option<JournalRow>,
    /// A tool call that writes our own database. Its result is decided here and stored in the row of `result`.
    pub write: Option<BookingWrite>,
    /// The tokens of model calls that are not counted yet. They count even if the turn belongs to another by now.
    pub tokens: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AppendOutcome {
    pub turn: TurnWriteOutcome,
    /// The result of `write`, if the turn's owner wrote.
    pub written: Option<Value>,
    /// A token budget is used up: the turn must not call a model again.
    pub is_over_budget: bool,
}

impl Decision for AppendJournal {
    type Reply = AppendOutcome;

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        plan.add_turn(&self.turn);
        let lookup = self.write.as_ref().map(|write| write.lookup(&Booker::from(&self.turn), now));
        plan.bookings.extend(lookup);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<AppendOutcome, Error> {
        batch.count_tokens(&self.turn, self.tokens);
        let turn = batch.tables.turns.get(&self.turn.turn).cloned().map(Box::new);
        let turn = match turn {
            Some(turn) if batch.owns(&turn, self.fence) => turn,
            turn => {
                let turn = TurnWriteOutcome::FencedOff(turn);
                return Ok(AppendOutcome { turn, written: None, is_over_budget: false });
            }
        };
        let is_over_budget = batch.exhausted_budget(self.turn.workspace, self.turn.conversation).is_some();
        batch.changes.journal.extend(self.rows.iter().cloned());
        if !is_over_budget {
            batch.changes.journal.extend(self.starting.iter().cloned());
        }
        let written = self.write.as_ref().map(|write| batch.write_booking(&Booker::from(&self.turn), write));
        if let Some(mut row) = self.result.clone() {
            if let Some(result) = &written {
                row.result = Some(result.to_string());
            }
            batch.changes.results.push(row);
        }
        Ok(AppendOutcome { turn: TurnWriteOutcome::Accepted(turn), written, is_over_budget })
    }
}

impl Command for AppendJournal {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }

    fn bytes(&self) -> usize {
        let rows = self.rows.iter().chain(&self.starting).chain(&self.result);
        rows.map(|row| row.content.len() + row.result.as_ref().map_or(0, String::len) + 256).sum()
    }
}
