//! The process's lease, on a store that several share: renewed every sixth of its
//! length. A process that could not renew it for a whole lease claims nothing and
//! sends no call until it has, and has looked which turns are still its own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{POLL, Worker};
use crate::domain::clock::Clock;
use crate::domain::ids::ProcessId;
use crate::store::{Db, StoreError, processes};
use crate::telemetry::TURNS_TAKEN_OVER;

/// As many turns as one query takes over at most.
const TAKEN: i64 = 256;

/// Whether this process has a good lease, and since when.
#[derive(Debug)]
pub struct Lease {
    state: watch::Sender<bool>,
    /// When the last renewal that succeeded was sent.
    renewed: Instant,
    /// Since when no renewal has come too late.
    unbroken_since: Instant,
}

impl Lease {
    /// Begins the lease: before the process listens, and before it owns anything.
    pub async fn begin(
        db: &Db,
        process: ProcessId,
        length: Duration,
        clock: &dyn Clock,
        state: watch::Sender<bool>,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        renew(db, process, length, clock).await?;
        state.send_replace(true);
        Ok(Self { state, renewed: now, unbroken_since: now })
    }
}

async fn renew(db: &Db, process: ProcessId, length: Duration, clock: &dyn Clock) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    processes::renew_lease(tx.conn(), process, length, clock).await?;
    tx.commit().await
}

/// Keeps the lease on a connection of its own until `last`, and then gives it up.
pub(super) async fn keep(worker: Worker, mut lease: Lease, db: Db, last: CancellationToken) {
    let length = worker.settings.lease;
    let mut taking_over = tokio::time::interval(POLL.max(length / 30));
    let mut renewing = tokio::time::interval(length / 6);
    loop {
        tokio::select! {
            _ = renewing.tick() => keep_once(&worker, &mut lease, &db).await,
            _ = taking_over.tick() => take_over(&worker, &lease).await,
            () = last.cancelled() => break,
        }
    }
    let dropped = async {
        let mut tx = db.begin().await?;
        processes::drop_lease(tx.conn(), worker.process).await?;
        tx.commit().await
    };
    if let Err(error) = dropped.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the lease could not be given up");
    }
    db.close().await;
}

async fn keep_once(worker: &Worker, lease: &mut Lease, db: &Db) {
    let length = worker.settings.lease;
    let sent = Instant::now();
    let renewal = renew(db, worker.process, length, worker.services.clock.as_ref());
    let renewed = tokio::time::timeout(length / 6, renewal).await.unwrap_or(Err(StoreError::TimedOut));
    if let Err(error) = &renewed {
        tracing::warn!(error = error as &dyn std::error::Error, "the lease could not be renewed");
    }
    let had = *lease.state.borrow();
    if renewed.is_ok() {
        if had && sent.duration_since(lease.renewed) > length {
            lease.unbroken_since = sent;
        }
        if !had && look_again(worker).await.is_ok() {
            lease.unbroken_since = sent;
            lease.state.send_replace(true);
        }
        lease.renewed = sent;
    } else if had && lease.renewed.elapsed() > length {
        lease.state.send_replace(false);
    }
}

/// After an outage: cancels the tasks of turns that others have taken in the meantime.
async fn look_again(worker: &Worker) -> Result<(), StoreError> {
    let owned = processes::list_owned(worker.services.db.read().await?.conn(), worker.process).await?;
    let owned: HashSet<_> = owned.into_iter().map(|(_, _, turn, _)| turn).collect();
    worker.books.retain(&owned);
    Ok(())
}

/// Queues what dead processes left. Only with a lease that has held for its whole length: after an
/// outage of the store every owner can renew first.
async fn take_over(worker: &Worker, lease: &Lease) {
    let length = worker.settings.lease;
    if !*lease.state.borrow() || lease.unbroken_since.elapsed() < length || lease.renewed.elapsed() >= length
    {
        return;
    }
    let overdue = worker.settings.attempt + length;
    let taken = async {
        let mut tx = worker.services.db.begin().await?;
        let clock = worker.services.clock.as_ref();
        let taken = processes::take_over(tx.conn(), worker.process, overdue, TAKEN, clock).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(taken)
    };
    match taken.await {
        Ok(0) => {}
        Ok(taken) => {
            metrics::counter!(TURNS_TAKEN_OVER).increment(taken);
            tracing::info!(turns = taken, "turns of dead processes were taken over");
        }
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "nothing could be taken over"),
    }
}
