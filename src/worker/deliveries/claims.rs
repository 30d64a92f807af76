//! Claims due deliveries for the free slots: at once if this process wrote them or has freed slots, by polls if another
//! process wrote them.

use std::collections::{HashMap, HashSet};

use super::super::{POLL_INTERVAL, Worker};
use super::{OwnedDelivery, send};
use crate::domain::clock::Micros;
use crate::domain::delivery::{ClaimedDelivery, DeliveryKey, DeliveryOutcome, OutcomeWrite};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::service::deliver_event::LoadedDeliveries;
use crate::store::deliveries;
use crate::store::deliveries::claims::DueEndpoint;
use crate::store::{Conn, StoreError};
use crate::telemetry::{DELIVERIES_IN_FLIGHT, DELIVERY_LAG_SECONDS};

/// How many deliveries one statement claims at most.
const BATCH: usize = 128;

/// Claims until the process stops. Never dropped half-way, so that every claimed delivery is sent.
pub(super) async fn claim(worker: Worker) {
    let soft = worker.tasks.soft_stop();
    for round in 0_usize.. {
        if soft.is_cancelled() {
            return;
        }
        let claimed = claim_once(&worker, round).await;
        let claimed = worker.failures.record("deliveries could not be claimed", claimed).unwrap_or_default();
        record_in_flight(&worker);
        // After a full batch there may be more.
        if claimed < BATCH {
            let woken = tokio::time::timeout(POLL_INTERVAL, worker.deliveries.wake.notified());
            soft.run_until_cancelled(woken).await;
        }
    }
}

/// Claims a batch and returns how many deliveries it claimed. An endpoint may yield fewer than were allocated to it, as
/// its due deliveries may wait for earlier ones; the rest is then allocated to the other endpoints.
async fn claim_once(worker: &Worker, round: usize) -> Result<usize, StoreError> {
    if !worker.lease.is_valid() {
        return Ok(0);
    }
    let (services, deliveries) = (&worker.services, &worker.deliveries);
    let clock = services.clock.as_ref();
    let (mut due, now) =
        services.db.control_read(async |conn| deliveries::claims::list_due(conn, clock).await).await?;
    record_lag(&due, now);
    let failing: Vec<_> = due.iter().filter(|due| due.is_failing).map(endpoint_key).collect();
    let mut count = 0;
    let may_continue = || worker.lease.is_valid() && !worker.tasks.soft_stop().is_cancelled();
    while count < BATCH && may_continue() {
        let allocations = deliveries.slots.allocate(
            due.clone(),
            deliveries.settings,
            BATCH - count,
            round,
            deliveries.tasks.count(),
        );
        if allocations.is_empty() {
            break;
        }
        let claim =
            async |conn: Conn<'_>| deliveries::claims::claim(conn, worker.process, &allocations, clock).await;
        let claimed = services.db.control_write(claim).await?;
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

/// Registers claimed deliveries and sends them.
async fn start_claimed(
    worker: &Worker,
    claimed: Vec<ClaimedDelivery>,
    failing: &[(WorkspaceId, EndpointId)],
    now: Micros,
) {
    let deliveries = &worker.deliveries;
    let register = |ClaimedDelivery { key, .. }: &ClaimedDelivery| {
        let is_failing = failing.contains(&(key.workspace, key.endpoint));
        (*key, OwnedDelivery::register(deliveries, *key, is_failing))
    };
    let mut registered: HashMap<DeliveryKey, OwnedDelivery> = claimed.iter().map(register).collect();
    let loaded = deliveries.sender.load(&worker.services.db, claimed.clone(), now).await;
    let loaded = loaded.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "claimed deliveries could not be read");
        LoadedDeliveries { waiting: claimed, ..LoadedDeliveries::default() }
    });
    for job in loaded.jobs {
        if let Some(owned) = registered.remove(&job.claimed.key) {
            send(worker, job, owned);
        }
    }
    let closed = loaded.closed.into_iter().map(|claimed| (claimed, DeliveryOutcome::Closed));
    let waiting = loaded.waiting.into_iter().map(|claimed| (claimed, DeliveryOutcome::HandedBack));
    for (claimed, outcome) in closed.chain(waiting) {
        end(worker, claimed, outcome, registered.remove(&claimed.key));
    }
}

/// Records the outcome of a delivery that was not sent.
fn end(worker: &Worker, claimed: ClaimedDelivery, outcome: DeliveryOutcome, owned: Option<OwnedDelivery>) {
    super::record_end(&outcome);
    let outcomes = worker.deliveries.outcomes.clone();
    worker.tasks.spawn("delivery", async move {
        outcomes.write(OutcomeWrite { key: claimed.key, fence: claimed.fence, outcome }).await;
        drop(owned);
    });
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
fn record_in_flight(worker: &Worker) {
    metrics::gauge!(DELIVERIES_IN_FLIGHT).set(worker.deliveries.slots.in_use() as f64);
}

fn record_lag(due: &[DueEndpoint], now: Micros) {
    let lag = due.iter().map(|due| now.since(due.since)).max().unwrap_or_default();
    metrics::gauge!(DELIVERY_LAG_SECONDS).set(lag.as_secs_f64());
}
