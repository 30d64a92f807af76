//! Queued turns are claimed for the slots that are free, each door by its own query.

use super::effects::run;
use super::{POLL, Worker};
use crate::domain::turn::Door;
use crate::store::{Conn, StoreError, queue};

/// As many turns as one query claims at most.
const BATCH: usize = 64;

/// Claims until the process stops. Never dropped in the middle: what is claimed is run.
pub(super) async fn claim(worker: Worker) {
    let soft = worker.turns.soft();
    while !soft.is_cancelled() {
        // A full batch says that there may be more.
        if claim_once(&worker).await < BATCH {
            soft.run_until_cancelled(tokio::time::sleep(POLL)).await;
        }
    }
}

/// Claims once for each door; how many turns now run.
pub(super) async fn claim_once(worker: &Worker) -> usize {
    let mut claimed = 0;
    for door in [Door::Widget, Door::Platform] {
        match claim_of(worker, door).await {
            Ok(count) => claimed += count,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no turns could be claimed");
            }
        }
    }
    claimed
}

async fn claim_of(worker: &Worker, door: Door) -> Result<usize, StoreError> {
    if !worker.has_lease.now() {
        return Ok(0);
    }
    // Reserved first: a turn that is claimed has a place to run.
    let mut slots = worker.slots.reserve(door, BATCH);
    if slots.is_empty() {
        return Ok(0);
    }
    let services = &worker.services;
    let (room, clock) = (worker.slots.room(), services.clock.as_ref());
    let most = worker.settings.life.max_takeovers;
    let claim = async |conn: Conn<'_>| {
        queue::claim(conn, worker.process, door, slots.len(), room.as_ref(), most, clock).await
    };
    let turns = services.db.writing(claim).await?;
    let count = turns.len();
    for turn in turns {
        let slot = slots.pop().map(|slot| slot.assigned(turn.workspace));
        run(worker, turn, slot);
    }
    Ok(count)
}
