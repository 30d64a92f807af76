//! Turns as tasks of this process: claims them, runs them, and counts their ends.

pub(super) mod claims;

use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use super::reconcile::RegisteredWork;
use super::registry::TaskRegistry;
use crate::domain::error::Error;
use crate::domain::ids::TurnId;
use crate::domain::turn::{Turn, TurnRef};
use crate::service::run_turn::TurnSignals;
use crate::store::ownership::Owned;
use crate::telemetry::{TURN_DURATION_SECONDS, TURNS_ENDED};
use crate::writer::{HandBackTurn, StartedTurn, TurnSlot};

/// Counts a turn that has ended, in the process whose batch ended it.
pub(super) fn record_end(turn: &Turn) {
    let api = turn.api.as_str();
    let duration = turn.ended_at.map_or(Duration::ZERO, |at| at.since(turn.admitted_at));
    metrics::counter!(TURNS_ENDED, "api" => api, "state" => turn.state.as_str()).increment(1);
    metrics::histogram!(TURN_DURATION_SECONDS, "api" => api).record(duration.as_secs_f64());
}

/// Runs a turn that this process owns as a task, which goes on when the turn's client leaves.
pub(super) fn run(worker: &Worker, started: StartedTurn, slot: Option<TurnSlot>) {
    let guard = worker.turns.register(started.turn.id);
    // Its last owner was asked to stop it, and died before it did.
    if started.turn.is_stop_requested {
        worker.turns.stop(started.turn.id);
    }
    let engine = Arc::clone(&worker.engine);
    let hard = worker.tasks.hard_stop();
    let writer = worker.services.writer.clone();
    worker.tasks.spawn("turn", async move {
        // Both are released however the turn ends, also by a panic.
        let (slot, guard) = (slot, guard);
        let signals = TurnSignals { hard_stop: hard, cancelled: guard.cancelled(), stop: guard.stopped() };
        let uncounted = engine.run(started, &signals).await;
        drop((slot, guard));
        let Some(count) = uncounted else { return };
        if let Err(error) = writer.execute(count).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(turn.id = %count.turn.turn, error, "the tokens of a turn could not be counted");
        }
    });
}

impl RegisteredWork for TurnRef {
    type TaskKey = TurnId;

    fn task_key(&self) -> TurnId {
        self.turn
    }

    fn registry(worker: &Worker) -> &TaskRegistry<TurnId> {
        &worker.turns
    }

    async fn hand_back(worker: &Worker, Owned { key, fence }: Owned<Self>) -> Result<(), Error> {
        let hand_back = HandBackTurn { turn: key, fence, delay: Duration::ZERO, is_takeover: true };
        worker.services.writer.execute(hand_back).await.map(drop)
    }
}
