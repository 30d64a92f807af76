//! Applies the effects of committed batches: runs turns, wakes waiting clients and followers of the feed, cancels tasks,
//! claims deliveries, and has messages indexed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::turns::{record_end, run};
use crate::lifecycle::panic_text;
use crate::writer::Effect;

/// Applies the writer's effects until `background_stop`, then those that are still queued.
pub(super) async fn consume(
    worker: Worker,
    mut effects: mpsc::UnboundedReceiver<Effect>,
    background_stop: CancellationToken,
) {
    loop {
        tokio::select! {
            effect = effects.recv() => match effect {
                Some(effect) => apply_or_drop(&worker, effect),
                None => return,
            },
            () = background_stop.cancelled() => break,
        }
    }
    while let Ok(effect) = effects.try_recv() {
        apply_or_drop(&worker, effect);
    }
}

/// Applies an effect. If that panics, only this effect is lost: polls and the reconciliation find what it was about.
fn apply_or_drop(worker: &Worker, effect: Effect) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| apply(worker, effect))) {
        tracing::error!("an effect of a batch was dropped, because it panicked: {}", panic_text(&*panic));
    }
}

fn apply(worker: &Worker, effect: Effect) {
    match effect {
        Effect::Stored(message) => worker.services.histories.append(*message),
        Effect::Started(started, slot) => run(worker, *started, slot),
        Effect::Ended(turn, end) => {
            record_end(&turn);
            worker.services.waiters.wake(turn.id, end);
            worker.services.turn_streams.close(turn.id);
        }
        Effect::Cancelled(turn) => worker.turns.cancel(turn),
        Effect::StopRequested(turn) => worker.turns.stop(turn),
        Effect::EventsAdvanced(workspace, cursor) => {
            worker.services.followers.advance(workspace, cursor);
            worker.unindexed.mark(workspace);
        }
        Effect::Deliveries => worker.deliveries.wake(),
    }
}
