//! What follows from committed batches: turns are run, waiting clients and readers of the feed
//! woken, tasks cancelled, deliveries looked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::domain::turn::Turn;
use crate::store::writer::{Effect, Slot};
use crate::telemetry::{TURN_SECONDS, TURNS_ENDED};

/// Follows the writer until `last`, and then to the end of what it has said.
pub(super) async fn follow(
    worker: Worker,
    mut effects: mpsc::UnboundedReceiver<Effect>,
    last: CancellationToken,
) {
    loop {
        tokio::select! {
            effect = effects.recv() => match effect {
                Some(effect) => act(&worker, effect),
                None => return,
            },
            () = last.cancelled() => break,
        }
    }
    while let Ok(effect) = effects.try_recv() {
        act(&worker, effect);
    }
}

fn act(worker: &Worker, effect: Effect) {
    match effect {
        Effect::Started(turn, slot) => run(worker, *turn, slot),
        Effect::Ended(turn, end) => {
            count(&turn);
            worker.services.waiters.wake(turn.id, &end);
        }
        Effect::Cancelled(turn) => worker.books.cancel(turn),
        Effect::Told(workspace, cursor) => worker.services.followers.raise(workspace, cursor),
        Effect::Deliveries => worker.deliveries.wake(),
    }
}

/// Counts a turn that has ended, once: in the process whose batch ended it.
fn count(turn: &Turn) {
    let door = turn.door.as_str();
    let took = turn.ended_at.map_or(Duration::ZERO, |at| at.since(turn.admitted_at));
    metrics::counter!(TURNS_ENDED, "door" => door, "state" => turn.state.as_str()).increment(1);
    metrics::histogram!(TURN_SECONDS, "door" => door).record(took.as_secs_f64());
}

/// Runs a turn that this process owns as a task of its own: it goes on though its client leaves.
pub(super) fn run(worker: &Worker, turn: Turn, slot: Option<Slot>) {
    let id = turn.id;
    let entry = worker.books.enter(id);
    let number = entry.number();
    let engine = Arc::clone(&worker.engine);
    let hard = worker.turns.hard();
    let handle = worker.turns.spawn("turn", async move {
        // Both are given up however the task ends: by its last line, a panic, or from outside.
        let _held = (entry, slot);
        engine.run(turn, &hard).await;
    });
    worker.books.set_handle(id, number, handle);
}
