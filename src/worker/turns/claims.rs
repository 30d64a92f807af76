//! Claims queued turns for the free slots, by one query for each API.

use super::run;
use crate::domain::turn::Api;
use crate::store::{Conn, StoreError, turns};
use crate::worker::{POLL_INTERVAL, Worker};
use crate::writer::StartedTurn;

/// How many turns one query claims at most.
const BATCH: usize = 64;

/// Claims until the process stops. Never dropped half-way, so that every claimed turn runs.
pub(in crate::worker) async fn claim(worker: Worker) {
    let soft = worker.tasks.soft_stop();
    while !soft.is_cancelled() {
        // After a full batch there may be more.
        if claim_once(&worker).await < BATCH {
            soft.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await;
        }
    }
}

/// Claims once for each API and returns how many turns it started.
pub(in crate::worker) async fn claim_once(worker: &Worker) -> usize {
    let mut claimed = 0;
    for api in [Api::Widget, Api::Platform] {
        let result = claim_for_api(worker, api).await;
        claimed += worker.failures.record("turns could not be claimed", result).unwrap_or_default();
    }
    claimed
}

async fn claim_for_api(worker: &Worker, api: Api) -> Result<usize, StoreError> {
    if !worker.lease.is_valid() {
        return Ok(0);
    }
    // Reserved first, so that every claimed turn has a slot.
    let mut slots = worker.slots.reserve(api, BATCH);
    if slots.is_empty() {
        return Ok(0);
    }
    let services = &worker.services;
    let (capacity, clock) = (worker.slots.workspace_capacity(), services.clock.as_ref());
    let max_takeovers = worker.settings.life.max_takeovers;
    let claim = async |conn: Conn<'_>| {
        turns::claims::claim(conn, worker.process, api, slots.len(), capacity.as_ref(), max_takeovers, clock)
            .await
    };
    let turns = services.db.control_write(claim).await?;
    let count = turns.len();
    for turn in turns {
        let slot = slots.pop().map(|slot| slot.assign(turn.workspace));
        run(worker, StartedTurn { turn, snapshot: None }, slot);
    }
    Ok(count)
}
