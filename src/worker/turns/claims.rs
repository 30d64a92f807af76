//! Claims queued turns for the free slots, for each API. The slots are allocated to the workspaces that have due turns.

use std::collections::{HashMap, HashSet};

use super::run;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::Api;
use crate::store::turns::claims::ClaimRequest;
use crate::store::{Conn, StoreError, turns};
use crate::worker::{POLL_INTERVAL, Worker};
use crate::writer::{StartedTurn, TurnSlot};

/// How many turns are claimed at most until the due workspaces are listed again.
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

/// A workspace may have fewer claimable turns than it has slots allocated; the others get the rest.
async fn claim_for_api(worker: &Worker, api: Api) -> Result<usize, StoreError> {
    if !worker.lease.is_valid() {
        return Ok(0);
    }
    let Worker { services, slots, .. } = worker;
    let clock = services.clock.as_ref();
    let list = async |conn: Conn<'_>| turns::claims::list_due(conn, api, clock).await;
    let mut due = services.db.control_read(list).await?;
    // Also while no slot is free: the next free one must not go to a workspace beyond its share while another waits.
    slots.set_waiting(api, &due);
    let mut count = 0;
    while count < BATCH && worker.lease.is_valid() {
        // Reserved first, so that every claimed turn has a slot.
        let reserved = slots.allocate(api, &due, BATCH - count);
        if reserved.is_empty() {
            break;
        }
        let (started, unused) = claim_and_run(worker, api, reserved).await?;
        count += started;
        let exhausted: HashSet<_> = unused.iter().filter_map(TurnSlot::workspace).collect();
        due.retain(|due| !exhausted.contains(&due.workspace));
    }
    Ok(count)
}

/// Claims a turn for each slot, and returns how many turns it started, and the slots whose workspaces have no more.
async fn claim_and_run(
    worker: &Worker,
    api: Api,
    mut slots: Vec<TurnSlot>,
) -> Result<(usize, Vec<TurnSlot>), StoreError> {
    let mut counts: HashMap<WorkspaceId, usize> = HashMap::new();
    for workspace in slots.iter().filter_map(TurnSlot::workspace) {
        *counts.entry(workspace).or_default() += 1;
    }
    let requests: Vec<_> =
        counts.into_iter().map(|(workspace, count)| ClaimRequest { workspace, count }).collect();
    let (clock, max_takeovers) = (worker.services.clock.as_ref(), worker.settings.life.max_takeovers);
    let claim = async |conn: Conn<'_>| {
        turns::claims::claim(conn, worker.process, api, &requests, max_takeovers, clock).await
    };
    let claimed = worker.services.db.control_write(claim).await?;
    let started = claimed.len();
    for turn in claimed {
        let index = slots.iter().position(|slot| slot.workspace() == Some(turn.workspace));
        let slot = index.map(|index| slots.swap_remove(index).assign(turn.workspace));
        run(worker, StartedTurn { turn, snapshot: None }, slot);
    }
    Ok((started, slots))
}
