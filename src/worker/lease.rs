//! The process's lease, on a store that several share: renewed every sixth of its
//! length. A process that could not renew it for a whole lease claims nothing and
//! sends no call until it has, and has looked which turns and deliveries are still its own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{POLL_INTERVAL, Worker, deliveries};
use crate::domain::clock::Clock;
use crate::domain::ids::ProcessId;
use crate::lifecycle::lease::LeaseKeeper;
use crate::store::{self, Conn, Db, StoreError, processes, turns};
use crate::telemetry::TURN_TAKEOVERS;

/// As many turns, or deliveries, as one query takes over at most.
const TAKEOVER_BATCH: u64 = 256;

/// The lease of this process.
#[derive(Debug)]
pub struct Lease {
    keeper: LeaseKeeper,
    length: Duration,
    /// When the last renewal that succeeded was sent.
    renewed_at: Instant,
    /// Since when no renewal has failed.
    unbroken_since: Instant,
}

impl Lease {
    /// Begins the lease: before the process listens, and before it owns anything.
    pub async fn acquire(
        db: &Db,
        process: ProcessId,
        length: Duration,
        clock: &dyn Clock,
        keeper: LeaseKeeper,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        db.write(async |conn| processes::renew_lease(conn, process, length, clock).await).await?;
        keeper.extend_until(now + length);
        Ok(Self { keeper, length, renewed_at: now, unbroken_since: now })
    }

    fn is_lost(&self) -> bool {
        self.renewed_at.elapsed() >= self.length
    }
}

/// Keeps the lease on a connection of its own until `background_stop`, and then gives it up.
pub(super) async fn keep_alive(worker: Worker, mut lease: Lease, db: Db, background_stop: CancellationToken) {
    let length = lease.length;
    let mut takeover_ticks = tokio::time::interval(POLL_INTERVAL.max(length / 30));
    let mut renewal_ticks = tokio::time::interval(length / 6);
    loop {
        tokio::select! {
            biased;
            () = background_stop.cancelled() => break,
            _ = renewal_ticks.tick() => renew_once(&worker, &mut lease, &db).await,
            _ = takeover_ticks.tick() => take_over(&worker, &lease).await,
        }
    }
    let released = db.write(async |conn| processes::release_lease(conn, worker.process).await);
    if let Err(error) = released.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be given up");
    }
    db.close().await;
}

async fn renew_once(worker: &Worker, lease: &mut Lease, db: &Db) {
    let sent_at = Instant::now();
    let was_lost = lease.is_lost();
    let clock = worker.services.clock.as_ref();
    let renew =
        async |conn: Conn<'_>| processes::renew_lease(conn, worker.process, lease.length, clock).await;
    let result = tokio::time::timeout(lease.length / 6, db.write(renew)).await;
    if let Err(error) = result.unwrap_or(Err(StoreError::TimedOut)) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be renewed");
        lease.unbroken_since = Instant::now();
        return;
    }
    if was_lost {
        tracing::warn!("the lease was lost: what others have taken in the meantime is let go");
        lease.keeper.mark_lost();
        // Also where none failed, but this process was frozen.
        lease.unbroken_since = sent_at;
        if let Err(error) = cancel_fenced_off(worker).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "own turns and deliveries could not be read"
            );
            return;
        }
    }
    lease.renewed_at = sent_at;
    lease.keeper.extend_until(sent_at + lease.length);
}

/// After an outage: cancels the tasks of turns and deliveries that others have taken in the meantime.
async fn cancel_fenced_off(worker: &Worker) -> Result<(), StoreError> {
    // Before the read: what is claimed since is ours.
    let running = worker.task_registry.turns();
    let owned =
        worker.services.db.read(async |conn| turns::claims::list_owned(conn, worker.process).await).await?;
    let owned: HashSet<_> = owned.into_iter().map(|(_, _, turn, _)| turn).collect();
    for turn in running.into_iter().filter(|turn| !owned.contains(turn)) {
        worker.task_registry.cancel(turn);
    }
    deliveries::cancel_fenced_off(worker).await
}

/// Queues what dead processes left. What an owner with an expired lease has only with a lease that has
/// held for its whole length: after an outage of the store every owner can renew first.
async fn take_over(worker: &Worker, lease: &Lease) {
    let length = lease.length;
    if lease.is_lost() {
        return;
    }
    let is_unbroken = lease.unbroken_since.elapsed() >= length;
    let overdue = is_unbroken.then_some(worker.settings.attempt_timeout + length);
    let clock = worker.services.clock.as_ref();
    let take_over_batch = async |mut conn: Conn<'_>| {
        let turns =
            turns::claims::take_over(conn.reborrow(), worker.process, overdue, TAKEOVER_BATCH, clock).await?;
        let deliveries =
            store::deliveries::claims::take_over(conn, worker.process, is_unbroken, TAKEOVER_BATCH, clock)
                .await?;
        Ok((turns, deliveries))
    };
    let take_over_all = async {
        // A full batch says that there may be more.
        loop {
            let (turns, deliveries) = worker.services.db.write(take_over_batch).await?;
            if (turns, deliveries) != (0, 0) {
                metrics::counter!(TURN_TAKEOVERS).increment(turns);
                tracing::info!(turns, deliveries, "what dead processes left was taken over");
            }
            if turns < TAKEOVER_BATCH && deliveries < TAKEOVER_BATCH {
                return Ok(());
            }
        }
    };
    // The next renewal must not wait for it.
    let result = tokio::time::timeout(length / 6, take_over_all).await;
    if let Err(error) = result.unwrap_or(Err(StoreError::TimedOut)) {
        tracing::warn!(error = &error as &dyn std::error::Error, "not all could be taken over");
    }
}
