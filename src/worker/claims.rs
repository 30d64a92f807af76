//! Queued turns are claimed for the slots that are free, each door by its own query.

use futures::future::join_all;

use super::effects::run;
use super::{POLL, Worker};
use crate::domain::batch::{HandBack, TurnRef};
use crate::domain::turn::{Door, Turn};
use crate::store::{Conn, StoreError, queue};

/// As many turns as one query claims at most.
const BATCH: usize = 64;

/// Claims until the process stops.
pub(super) async fn claim(worker: Worker) {
    loop {
        // A full batch says that there may be more.
        if claim_once(&worker).await < BATCH {
            tokio::time::sleep(POLL).await;
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
    let full = worker.slots.full_workspaces();
    let (clock, most) = (services.clock.as_ref(), worker.settings.life.max_takeovers);
    let claim = async |conn: Conn<'_>| {
        queue::claim(conn, worker.process, door, slots.len(), &full, most, clock).await
    };
    let turns = services.db.writing(claim).await?;
    let count = turns.len();
    let mut too_many = Vec::new();
    for turn in turns {
        if worker.slots.full_workspaces().contains(&turn.workspace) {
            too_many.push(turn);
            continue;
        }
        let slot = slots.pop().map(|slot| slot.assigned(turn.workspace));
        run(worker, turn, slot);
    }
    // At once, so that they are committed together.
    join_all(too_many.iter().map(|turn| give_back(worker, turn))).await;
    Ok(count)
}

/// One query may claim more turns of a workspace than it has slots left for.
async fn give_back(worker: &Worker, turn: &Turn) {
    let place = TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id };
    let hand_back = HandBack { turn: place, fence: turn.fence, delay: POLL };
    if let Err(error) = worker.services.writer.hand_back(hand_back).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a turn could not be handed back");
    }
}
