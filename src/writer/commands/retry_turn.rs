//! Ends a failed attempt of a turn, which stays running.

use std::time::Duration;

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::TurnRef;
use crate::writer::batch::{Batch, LoadPlan, TurnWriteOutcome};

/// The owner's next attempt begins after `delay`.
#[derive(Clone, Debug)]
pub struct RetryTurn {
    pub turn: TurnRef,
    pub fence: i64,
    pub delay: Duration,
    /// Why the attempt failed, for [`Turn::model_error`](crate::domain::turn::Turn::model_error).
    pub model_error: Option<String>,
    /// The tokens of model calls that are not counted yet. They count even if the turn belongs to another by now.
    pub tokens: i64,
}

impl Decision for RetryTurn {
    type Reply = TurnWriteOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_turn(&self.turn);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<TurnWriteOutcome, Error> {
        let not_before = batch.context.now.plus(self.delay);
        batch.count_tokens(&self.turn, self.tokens);
        Ok(batch.update_owned_turn(&self.turn, self.fence, |turn| {
            turn.attempts += 1;
            turn.model_error.clone_from(&self.model_error);
            turn.not_before = not_before;
        }))
    }
}

impl Command for RetryTurn {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }
}
