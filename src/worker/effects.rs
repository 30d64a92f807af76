//! What follows from committed batches: turns are run, waiting clients woken, tasks cancelled,
//! deliveries looked for.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::domain::turn::Turn;
use crate::store::writer::{Effect, Slot};

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
        Effect::Ended(turn, end) => worker.services.waiters.wake(turn, &end),
        Effect::Cancelled(turn) => worker.books.cancel(turn),
        Effect::Deliveries => worker.deliveries.wake(),
    }
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
