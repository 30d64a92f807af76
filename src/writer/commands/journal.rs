//! What a running turn writes on its way: the model's answers, its calls and
//! their results. What calls change in our own store is `bookings`.

use super::{Batch, JournalAppend, Outcome, TurnWriteOutcome};

impl Batch<'_> {
    /// Keeps rows of a turn's journal, if who asks still owns the turn.
    pub(super) fn journal(&mut self, append: &JournalAppend) -> Outcome {
        let turn = self.tables.turns.get(&append.turn.turn).cloned();
        let Some(turn) = turn.filter(|turn| self.owns(turn, append.fence)) else {
            let turn = self.tables.turns.get(&append.turn.turn).cloned().map(Box::new);
            return Outcome::Journaled { turn_write: TurnWriteOutcome::FencedOff(turn), result: None };
        };
        self.changes.journal.extend(append.rows.iter().cloned());
        let decided = append.write.as_ref().map(|write| self.write_store(&append.turn, write));
        if let Some(mut row) = append.result.clone() {
            if let Some(result) = &decided {
                row.result = Some(result.to_string());
            }
            self.changes.results.push(row);
        }
        Outcome::Journaled { turn_write: TurnWriteOutcome::Accepted(Box::new(turn)), result: decided }
    }
}
