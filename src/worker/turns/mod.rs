//! Turns as tasks of this process.

pub(super) mod claims;

use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::domain::turn::Turn;
use crate::telemetry::{TURN_DURATION_SECONDS, TURNS_ENDED};
use crate::writer::Slot;

/// Counts a turn that has ended, once: in the process whose batch ended it.
pub(super) fn record_end(turn: &Turn) {
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
