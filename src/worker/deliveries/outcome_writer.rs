//! Ends of deliveries gather while the ones before them are being committed, and are
//! then written together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::Worker;
use crate::domain::delivery::OutcomeWrite;
use crate::store::deliveries::attempts;
use crate::store::{Conn, StoreError};

/// As many as one transaction writes at most.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);

/// The way to the store for ends. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OutcomeWriter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<Vec<PendingOutcome>>,
    added: Notify,
}

#[derive(Debug)]
struct PendingOutcome {
    ended: OutcomeWrite,
    done: oneshot::Sender<()>,
}

impl OutcomeWriter {
    /// Returns when it is written: waits for the store as long as the process lives.
    pub(super) async fn write(&self, ended: OutcomeWrite) {
        let (done, recorded) = oneshot::channel();
        self.lock().push(PendingOutcome { ended, done });
        self.0.added.notify_one();
        // Where nobody writes any more, the process ends, and others take what it owned.
        let _ = recorded.await;
    }

    fn drain_batch(&self) -> Vec<PendingOutcome> {
        let mut pending = self.lock();
        let count = pending.len().min(BATCH);
        pending.drain(..count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PendingOutcome>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes ends until `background_stop`, and then what is still there, if the store takes it.
pub(super) async fn run(worker: Worker, background_stop: CancellationToken) {
    let outcomes = &worker.deliveries.outcomes;
    loop {
        let batch = outcomes.drain_batch();
        if !batch.is_empty() {
            commit(&worker, batch, &background_stop).await;
            continue;
        }
        tokio::select! {
            () = outcomes.0.added.notified() => {}
            () = background_stop.cancelled() => return,
        }
    }
}

async fn commit(worker: &Worker, batch: Vec<PendingOutcome>, background_stop: &CancellationToken) {
    let (ended, done): (Vec<OutcomeWrite>, Vec<_>) =
        batch.into_iter().map(|pending| (pending.ended, pending.done)).unzip();
    while let Err(error) = record(worker, &ended).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "ends of deliveries were not written");
        if !error.is_transient() {
            record_one_by_one(worker, &ended).await;
            break;
        }
        if background_stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    for done in done {
        // Its task may have been aborted.
        let _ = done.send(());
    }
}

/// After a commit whose outcome is unknown the same again changes nothing: the fences have moved on.
async fn record(worker: &Worker, ended: &[OutcomeWrite]) -> Result<(), StoreError> {
    let clock = worker.services.clock.as_ref();
    let record = async |conn: Conn<'_>| attempts::record(conn, worker.process, ended, clock).await;
    worker.services.db.write(record).await
}

/// A fault in the data fails the end that has it, alone; the delivery is handed back by the books.
async fn record_one_by_one(worker: &Worker, ended: &[OutcomeWrite]) {
    for ended in ended {
        if let Err(error) = record(worker, std::slice::from_ref(ended)).await {
            tracing::error!(
                endpoint.id = %ended.key.endpoint,
                error = &error as &dyn std::error::Error,
                "the end of a delivery was not written"
            );
        }
    }
}
