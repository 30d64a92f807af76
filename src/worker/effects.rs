//! What follows from committed batches: turns are run, waiting clients and readers of the feed
//! woken, tasks cancelled, deliveries looked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::domain::turn::Turn;
use crate::store::writer::{Effect, Slot};
use crate::telemetry::{TURN_DURATION_SECONDS, TURNS_ENDED};

/// Follows the writer until `background_stop`, and then to the end of what it has said.
pub(super) async fn consume(
    worker: Worker,
    mut effects: mpsc::UnboundedReceiver<Effect>,
    background_stop: CancellationToken,
) {
    loop {
        tokio::select! {
            effect = effects.recv() => match effect {
                Some(effect) => apply(&worker, effect),
                None => return,
            },
            () = background_stop.cancelled() => break,
        }
    }
    while let Ok(effect) = effects.try_recv() {
        apply(&worker, effect);
    }
}

fn apply(worker: &Worker, effect: Effect) {
    match effect {
        Effect::Started(turn, slot) => run(worker, *turn, slot),
        Effect::Ended(turn, end) => {
            record_turn_end(&turn);
            worker.services.waiters.wake(turn.id, &end);
        }
        Effect::Cancelled(turn) => worker.task_registry.cancel(turn),
        Effect::EventsAdvanced(workspace, cursor) => worker.services.followers.advance(workspace, cursor),
        Effect::Deliveries => worker.deliveries.wake(),
    }
}

/// Counts a turn that has ended, once: in the process whose batch ended it.
fn record_turn_end(turn: &Turn) {
    let api = turn.api.as_str();
    let duration = turn.ended_at.map_or(Duration::ZERO, |at| at.since(turn.admitted_at));
    metrics::counter!(TURNS_ENDED, "api" => api, "state" => turn.state.as_str()).increment(1);
    metrics::histogram!(TURN_DURATION_SECONDS, "api" => api).record(duration.as_secs_f64());
}

/// Runs a turn that this process owns as a task of its own: it goes on though its client leaves.
pub(super) fn run(worker: &Worker, turn: Turn, slot: Option<Slot>) {
    let id = turn.id;
    let entry = worker.task_registry.register(id);
    let number = entry.number();
    let engine = Arc::clone(&worker.engine);
    let hard = worker.tasks.hard_stop();
    let handle = worker.tasks.spawn("turn", async move {
        // Both are given up however the task ends: by its last line, a panic, or from outside.
        let _guards = (entry, slot);
        engine.run(turn, &hard).await;
    });
    worker.task_registry.set_handle(id, number, handle);
}
