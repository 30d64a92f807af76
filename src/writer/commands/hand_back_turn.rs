//! Queues a running turn for any process to claim.

use std::time::Duration;

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::{TurnRef, TurnState};
use crate::writer::batch::{Batch, LoadPlan, TurnWriteOutcome};

/// The turn may be claimed after `delay`. That does not count as an attempt.
#[derive(Clone, Copy, Debug)]
pub struct HandBackTurn {
    pub turn: TurnRef,
    pub fence: i64,
    pub delay: Duration,
    /// Its task was lost, for example by a panic: this counts as a takeover, because the turn itself may be the cause.
    pub is_takeover: bool,
}

impl Decision for HandBackTurn {
    type Reply = TurnWriteOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_turn(&self.turn);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<TurnWriteOutcome, Error> {
        let (process, not_before) = (batch.context.process, batch.context.now.plus(self.delay));
        Ok(batch.update_owned_turn(&self.turn, self.fence, |turn| {
            turn.state = TurnState::Queued;
            turn.owner = None;
            turn.not_before = not_before;
            turn.takeovers += i64::from(self.is_takeover);
            // A process that hands its own stream back stops, so another need not wait for it. After a panic its stream goes on.
            if !self.is_takeover && turn.stream_process == Some(process) {
                turn.stream_process = None;
            }
        }))
    }
}

impl Command for HandBackTurn {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }
}
