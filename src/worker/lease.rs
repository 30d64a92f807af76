//! The lease of this process, on a database that several processes share, renewed every sixth of its length, and more often while
//! that fails or is doubtful. A process that could not renew it for a whole lease claims nothing and sends no call until it has renewed
//! it and has cancelled the tasks whose turns and deliveries others have taken over.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{POLL_INTERVAL, Worker, reconcile};
use crate::domain::clock::Clock;
use crate::domain::delivery::DeliveryKey;
use crate::domain::ids::ProcessId;
use crate::domain::turn::TurnRef;
use crate::lifecycle::lease::LeaseKeeper;
use crate::store::{Conn, Db, StoreError, Tenant, ownership, processes};
use crate::telemetry::TURN_TAKEOVERS;

/// How many turns, or deliveries, one statement takes over at most.
const TAKEOVER_BATCH: u64 = 256;

/// The time between renewals while it is doubtful whether the lease can be renewed. The process is not ready for as long.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The lease of this process.
#[derive(Debug)]
pub struct Lease {
    keeper: LeaseKeeper,
    length: Duration,
    /// When the last successful renewal was sent.
    renewed_at: Instant,
    /// When the last renewal was sent.
    sent_at: Instant,
    /// No renewal has failed since then.
    unbroken_since: Instant,
}

impl Lease {
    /// Acquires the lease, before the process listens and before it owns anything.
    pub async fn acquire(
        db: &Db,
        process: ProcessId,
        length: Duration,
        clock: &dyn Clock,
        keeper: LeaseKeeper,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        let renew = async |conn: Conn<'_>| processes::renew_lease(conn, process, length, clock).await;
        db.write(Tenant::Process, renew).await?;
        keeper.extend_until(now + length);
        Ok(Self { keeper, length, renewed_at: now, sent_at: now, unbroken_since: now })
    }

    /// Waits until a renewal is to be sent before its time.
    async fn wait_for_retry(&self) {
        self.keeper.wait_for_doubt().await;
        tokio::time::sleep_until((self.sent_at + RETRY_INTERVAL).into()).await;
    }

    fn is_lost(&self) -> bool {
        self.renewed_at.elapsed() >= self.length
    }
}

/// Renews the lease on a connection of its own until `background_stop`, then releases it.
pub(super) async fn keep_alive(worker: Worker, mut lease: Lease, db: Db, background_stop: CancellationToken) {
    let length = lease.length;
    let mut takeover_ticks = tokio::time::interval(POLL_INTERVAL.max(length / 30));
    let mut renewal_ticks = tokio::time::interval(length / 6);
    loop {
        tokio::select! {
            biased;
            () = background_stop.cancelled() => break,
            _ = renewal_ticks.tick() => renew_once(&worker, &mut lease, &db).await,
            () = lease.wait_for_retry() => renew_once(&worker, &mut lease, &db).await,
            _ = takeover_ticks.tick() => take_over(&worker, &lease).await,
        }
    }
    let release = async |conn: Conn<'_>| processes::release_lease(conn, worker.process).await;
    if let Err(error) = db.write(Tenant::Process, release).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be released");
    }
    db.close().await;
}

async fn renew_once(worker: &Worker, lease: &mut Lease, db: &Db) {
    let sent_at = Instant::now();
    lease.sent_at = sent_at;
    let doubts = lease.keeper.doubts();
    let was_lost = lease.is_lost();
    let clock = worker.services.clock.as_ref();
    let renew =
        async |conn: Conn<'_>| processes::renew_lease(conn, worker.process, lease.length, clock).await;
    let result = tokio::time::timeout(lease.length / 6, db.write(Tenant::Process, renew)).await;
    let result = result.unwrap_or(Err(StoreError::TimedOut));
    let failure = result.as_ref().err().map(ToString::to_string);
    worker.failures.record("the lease could not be renewed", result);
    if let Some(reason) = failure {
        lease.unbroken_since = Instant::now();
        lease.keeper.record_failure(reason);
        return;
    }
    if was_lost {
        tracing::warn!("the lease was lost: tasks whose work others have taken over are cancelled");
        lease.keeper.mark_lost();
        // Also when no renewal failed, but this process was frozen.
        lease.unbroken_since = sent_at;
        if let Err(error) = cancel_fenced_off(worker).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the turns and deliveries of this process could not be read"
            );
            lease.keeper.record_failure(error.to_string());
            return;
        }
    }
    lease.renewed_at = sent_at;
    lease.keeper.extend_until(sent_at + lease.length);
    lease.keeper.record_success(doubts);
}

/// After an outage: cancels the tasks of turns and deliveries that others have taken over in the meantime.
async fn cancel_fenced_off(worker: &Worker) -> Result<(), StoreError> {
    reconcile::cancel_fenced_off::<TurnRef>(worker).await?;
    reconcile::cancel_fenced_off::<DeliveryKey>(worker).await
}

/// Queues the work of dead processes. Work whose owner has an expired lease is queued only if no renewal of our own lease
/// has failed for its whole length: after a database outage, every owner can renew first.
async fn take_over(worker: &Worker, lease: &Lease) {
    let length = lease.length;
    if lease.is_lost() || !lease.keeper.is_renewable() {
        return;
    }
    let is_unbroken = lease.unbroken_since.elapsed() >= length;
    let attempt_timeout = is_unbroken.then_some(worker.settings.attempt_timeout + length);
    let (process, clock) = (worker.process, worker.services.clock.as_ref());
    let take_over_batch = async |mut conn: Conn<'_>| {
        let turns =
            ownership::take_over::<TurnRef>(conn.reborrow(), process, attempt_timeout, TAKEOVER_BATCH, clock)
                .await?;
        let deliveries =
            ownership::take_over::<DeliveryKey>(conn, process, attempt_timeout, TAKEOVER_BATCH, clock)
                .await?;
        Ok((turns, deliveries))
    };
    let take_over_all = async {
        // After a full batch there may be more.
        loop {
            let (turns, deliveries) = worker.services.db.control_write(take_over_batch).await?;
            if (turns, deliveries) != (0, 0) {
                metrics::counter!(TURN_TAKEOVERS).increment(turns);
                tracing::info!(turns, deliveries, "the work of dead processes was taken over");
            }
            if turns < TAKEOVER_BATCH && deliveries < TAKEOVER_BATCH {
                return Ok(());
            }
        }
    };
    // A takeover must not delay the next renewal.
    let result = tokio::time::timeout(length / 6, take_over_all).await;
    let result = result.unwrap_or(Err(StoreError::TimedOut));
    worker.failures.record("the work of dead processes could not be taken over", result);
}
