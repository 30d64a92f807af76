//! Compares the deliveries under way with the store every half lease: what the store says
//! is owned here and no task sends, in two reads running with the same fence, is handed back. After an
//! outage it is the other way round: what is sent here and owned by others is let go.

use std::collections::HashSet;
use std::time::Duration;

use super::super::Worker;
use crate::domain::delivery::{DeliveryKey, DeliveryOutcome, OutcomeWrite};
use crate::store::{Conn, StoreError, deliveries};

pub(super) async fn run(worker: Worker) {
    let mut missing = HashSet::new();
    loop {
        tokio::time::sleep(worker.settings.lease.max(Duration::from_secs(1)) / 2).await;
        match reconcile_once(&worker, &missing).await {
            Ok(now_missing) => missing = now_missing,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "own deliveries could not be read");
            }
        }
    }
}

async fn reconcile_once(
    worker: &Worker,
    missing: &HashSet<(DeliveryKey, i64)>,
) -> Result<HashSet<(DeliveryKey, i64)>, StoreError> {
    let list = async |conn: Conn<'_>| deliveries::claims::list_owned(conn, worker.process).await;
    let owned = worker.services.db.read(list).await?;
    let mut now_missing = HashSet::new();
    for (key, fence) in owned {
        if worker.deliveries.in_flight.contains(key) {
            continue;
        }
        if !missing.contains(&(key, fence)) {
            now_missing.insert((key, fence));
            continue;
        }
        tracing::warn!(endpoint.id = %key.endpoint, "no task sends a delivery that this process owns: it is handed back");
        worker
            .deliveries
            .outcomes
            .write(OutcomeWrite { key, fence, outcome: DeliveryOutcome::HandedBack })
            .await;
    }
    Ok(now_missing)
}

/// Ends the attempts at what the store says is not owned here, with this fence.
pub(super) async fn cancel_fenced_off(worker: &Worker) -> Result<(), StoreError> {
    let in_flight = &worker.deliveries.in_flight;
    // Before the read: what is claimed since is ours.
    let before = in_flight.owned();
    let list = async |conn: Conn<'_>| deliveries::claims::list_owned(conn, worker.process).await;
    let owned: HashSet<_> = worker.services.db.read(list).await?.into_iter().collect();
    for (key, fence) in before.into_iter().filter(|delivery| !owned.contains(delivery)) {
        in_flight.fence_off(key, fence);
    }
    Ok(())
}
