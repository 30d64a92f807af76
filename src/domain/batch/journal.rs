//! What a running turn writes on its way: the model's answers, its calls and
//! their results. What calls change in our own store is `bookings`.

use super::{Batch, Journaling, Outcome, Step};

impl Batch<'_> {
    /// Keeps rows of a turn's journal, if who asks still owns the turn.
    pub(super) fn journal(&mut self, journaling: &Journaling) -> Outcome {
        let turn = self.tables.turns.get(&journaling.turn.turn).cloned();
        let Some(turn) = turn.filter(|turn| self.owns(turn, journaling.fence)) else {
            let turn = self.tables.turns.get(&journaling.turn.turn).cloned().map(Box::new);
            return Outcome::Journaled { step: Step::Overtaken(turn), result: None };
        };
        self.written.journal.extend(journaling.rows.iter().cloned());
        let decided = journaling.write.as_ref().map(|write| self.write_store(&journaling.turn, write));
        if let Some(mut row) = journaling.result.clone() {
            if let Some(result) = &decided {
                row.result = Some(result.to_string());
            }
            self.written.results.push(row);
        }
        Outcome::Journaled { step: Step::Done(Box::new(turn)), result: decided }
    }
}
