//! Deliveries that are due are claimed for the places that are free: at once where this
//! process wrote them or has finished others, by polls where another process wrote them.

use std::collections::HashSet;

use super::super::{POLL, Worker};
use super::{Flight, send};
use crate::domain::clock::Micros;
use crate::domain::delivery::{Claimed, End, Ended};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::delivery_claims::{self, Due};
use crate::store::{Conn, StoreError};
use crate::telemetry::{DELIVERIES_LATE_SECONDS, DELIVERIES_RUNNING};

/// As many deliveries as one query claims at most.
const BATCH: usize = 128;

/// Claims until the process stops. Never dropped in the middle: what is claimed is sent.
pub(super) async fn claim(worker: Worker) {
    let soft = worker.turns.soft();
    for round in 0_usize.. {
        if soft.is_cancelled() {
            return;
        }
        let claimed = claim_once(&worker, round).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "no deliveries could be claimed");
            0
        });
        show(&worker);
        // A full batch says that there may be more.
        if claimed < BATCH {
            let woken = tokio::time::timeout(POLL, worker.deliveries.wake.notified());
            soft.run_until_cancelled(woken).await;
        }
    }
}

/// Claims a batch, and says how many deliveries are now being sent. An endpoint may have less to give
/// than it is asked for, as what is due there waits for its order: then the others are asked.
async fn claim_once(worker: &Worker, round: usize) -> Result<usize, StoreError> {
    if !worker.has_lease.now() {
        return Ok(0);
    }
    let (services, deliveries) = (&worker.services, &worker.deliveries);
    let clock = services.clock.as_ref();
    let (mut due, now) =
        services.db.reading(async |conn| delivery_claims::list_due(conn, clock).await).await?;
    show_late(&due, now);
    let failing: Vec<_> = due.iter().filter(|due| due.is_failing).map(place).collect();
    let mut count = 0;
    let goes_on = || worker.has_lease.now() && !worker.turns.soft().is_cancelled();
    while count < BATCH && goes_on() {
        let wanted = deliveries.flights.allot(due.clone(), deliveries.settings, BATCH - count, round);
        if wanted.is_empty() {
            break;
        }
        let claim = async |conn: Conn<'_>| delivery_claims::claim(conn, worker.process, &wanted, clock).await;
        let claimed = services.db.writing(claim).await?;
        count += claimed.len();
        if !claimed.is_empty() {
            start(worker, claimed, &failing, now).await;
        }
        let asked: HashSet<_> = wanted.iter().map(|wanted| (wanted.workspace, wanted.endpoint)).collect();
        due.retain(|due| !asked.contains(&place(due)));
    }
    Ok(count)
}

fn place(due: &Due) -> (WorkspaceId, EndpointId) {
    (due.workspace, due.endpoint)
}

/// Sends what was claimed. From here on each is in the books.
async fn start(worker: &Worker, claimed: Vec<Claimed>, failing: &[(WorkspaceId, EndpointId)], now: Micros) {
    let deliveries = &worker.deliveries;
    let enter = |claimed: &Claimed| {
        let key = claimed.key;
        let is_failing = failing.contains(&(key.workspace, key.endpoint));
        (*claimed, deliveries.flights.enter(key, claimed.fence, is_failing))
    };
    let mut entered: Vec<(Claimed, Flight)> = claimed.iter().map(enter).collect();
    let mut flight_of = |claimed: Claimed| {
        let place = entered.iter().position(|(entered, _)| entered.key == claimed.key)?;
        Some(entered.swap_remove(place).1)
    };
    match deliveries.sender.load(&worker.services.db, claimed, now).await {
        Ok(loaded) => {
            for job in loaded.jobs {
                if let Some(flight) = flight_of(job.claimed) {
                    send(worker, job, flight);
                }
            }
            for claimed in loaded.closed {
                end(worker, claimed, End::Closed, flight_of(claimed));
            }
            for claimed in loaded.waiting {
                end(worker, claimed, End::HandedBack, flight_of(claimed));
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "claimed deliveries could not be read");
            for (claimed, flight) in entered {
                end(worker, claimed, End::HandedBack, Some(flight));
            }
        }
    }
}

/// Ends a delivery that was not sent.
fn end(worker: &Worker, claimed: Claimed, end: End, flight: Option<Flight>) {
    super::count(&end);
    let ends = worker.deliveries.ends.clone();
    worker.turns.spawn("delivery", async move {
        ends.write(Ended { key: claimed.key, fence: claimed.fence, end }).await;
        drop(flight);
    });
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
fn show(worker: &Worker) {
    metrics::gauge!(DELIVERIES_RUNNING).set(worker.deliveries.flights.count() as f64);
}

fn show_late(due: &[Due], now: Micros) {
    let late = due.iter().map(|due| now.since(due.since)).max().unwrap_or_default();
    metrics::gauge!(DELIVERIES_LATE_SECONDS).set(late.as_secs_f64());
}
