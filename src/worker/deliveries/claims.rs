//! Deliveries that are due are claimed for the places that are free: at once where this
//! process wrote them or has finished others, by polls where another process wrote them.

use std::collections::HashSet;

use super::super::{POLL_INTERVAL, Worker};
use super::{InFlightGuard, send};
use crate::domain::clock::Micros;
use crate::domain::delivery::{ClaimedDelivery, DeliveryOutcome, OutcomeWrite};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::deliveries;
use crate::store::deliveries::claims::DueEndpoint;
use crate::store::{Conn, StoreError};
use crate::telemetry::{DELIVERIES_IN_FLIGHT, DELIVERY_LAG_SECONDS};

/// As many deliveries as one query claims at most.
const BATCH: usize = 128;

/// Claims until the process stops. Never dropped in the middle: what is claimed is sent.
pub(super) async fn claim(worker: Worker) {
    let soft = worker.tasks.soft_stop();
    for round in 0_usize.. {
        if soft.is_cancelled() {
            return;
        }
        let claimed = claim_once(&worker, round).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "no deliveries could be claimed");
            0
        });
        record_in_flight(&worker);
        // A full batch says that there may be more.
        if claimed < BATCH {
            let woken = tokio::time::timeout(POLL_INTERVAL, worker.deliveries.wake.notified());
            soft.run_until_cancelled(woken).await;
        }
    }
}

/// Claims a batch, and says how many deliveries are now being sent. An endpoint may have less to give
/// than it is asked for, as what is due there waits for its order: then the others are asked.
async fn claim_once(worker: &Worker, round: usize) -> Result<usize, StoreError> {
    if !worker.has_lease.is_valid() {
        return Ok(0);
    }
    let (services, deliveries) = (&worker.services, &worker.deliveries);
    let clock = services.clock.as_ref();
    let (mut due, now) =
        services.db.read(async |conn| deliveries::claims::list_due(conn, clock).await).await?;
    record_lag(&due, now);
    let failing: Vec<_> = due.iter().filter(|due| due.is_failing).map(endpoint_key).collect();
    let mut count = 0;
    let may_continue = || worker.has_lease.is_valid() && !worker.tasks.soft_stop().is_cancelled();
    while count < BATCH && may_continue() {
        let allocations =
            deliveries.in_flight.allocate(due.clone(), deliveries.settings, BATCH - count, round);
        if allocations.is_empty() {
            break;
        }
        let claim =
            async |conn: Conn<'_>| deliveries::claims::claim(conn, worker.process, &allocations, clock).await;
        let claimed = services.db.write(claim).await?;
        count += claimed.len();
        if !claimed.is_empty() {
            start_claimed(worker, claimed, &failing, now).await;
        }
        let allocated: HashSet<_> =
            allocations.iter().map(|allocation| (allocation.workspace, allocation.endpoint)).collect();
        due.retain(|due| !allocated.contains(&endpoint_key(due)));
    }
    Ok(count)
}

fn endpoint_key(due: &DueEndpoint) -> (WorkspaceId, EndpointId) {
    (due.workspace, due.endpoint)
}

/// Sends what was claimed. From here on each is in the books.
async fn start_claimed(
    worker: &Worker,
    claimed: Vec<ClaimedDelivery>,
    failing: &[(WorkspaceId, EndpointId)],
    now: Micros,
) {
    let deliveries = &worker.deliveries;
    let insert = |claimed: &ClaimedDelivery| {
        let key = claimed.key;
        let is_failing = failing.contains(&(key.workspace, key.endpoint));
        (*claimed, deliveries.in_flight.insert(key, claimed.fence, is_failing))
    };
    let mut registered: Vec<(ClaimedDelivery, InFlightGuard)> = claimed.iter().map(insert).collect();
    let mut take_guard = |claimed: ClaimedDelivery| {
        let index = registered.iter().position(|(registered, _)| registered.key == claimed.key)?;
        Some(registered.swap_remove(index).1)
    };
    match deliveries.sender.load(&worker.services.db, claimed, now).await {
        Ok(loaded) => {
            for job in loaded.jobs {
                if let Some(guard) = take_guard(job.claimed) {
                    send(worker, job, guard);
                }
            }
            for claimed in loaded.closed {
                end(worker, claimed, DeliveryOutcome::Closed, take_guard(claimed));
            }
            for claimed in loaded.waiting {
                end(worker, claimed, DeliveryOutcome::HandedBack, take_guard(claimed));
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "claimed deliveries could not be read");
            for (claimed, guard) in registered {
                end(worker, claimed, DeliveryOutcome::HandedBack, Some(guard));
            }
        }
    }
}

/// Ends a delivery that was not sent.
fn end(worker: &Worker, claimed: ClaimedDelivery, outcome: DeliveryOutcome, guard: Option<InFlightGuard>) {
    super::record_end(&outcome);
    let outcomes = worker.deliveries.outcomes.clone();
    worker.tasks.spawn("delivery", async move {
        outcomes.write(OutcomeWrite { key: claimed.key, fence: claimed.fence, outcome }).await;
        drop(guard);
    });
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
fn record_in_flight(worker: &Worker) {
    metrics::gauge!(DELIVERIES_IN_FLIGHT).set(worker.deliveries.in_flight.count() as f64);
}

fn record_lag(due: &[DueEndpoint], now: Micros) {
    let lag = due.iter().map(|due| now.since(due.since)).max().unwrap_or_default();
    metrics::gauge!(DELIVERY_LAG_SECONDS).set(lag.as_secs_f64());
}
