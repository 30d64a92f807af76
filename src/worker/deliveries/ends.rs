//! Ends of deliveries gather while the ones before them are being committed, and are
//! then written together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::Worker;
use crate::domain::delivery::Ended;
use crate::store::{Conn, StoreError, attempts};

/// As many as one transaction writes at most.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);

/// The way to the store for ends. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Vec<Waiting>>,
    came: Notify,
}

#[derive(Debug)]
struct Waiting {
    ended: Ended,
    written: oneshot::Sender<()>,
}

impl Ends {
    /// Returns when it is written: waits for the store as long as the process lives.
    pub(super) async fn write(&self, ended: Ended) {
        let (written, done) = oneshot::channel();
        self.lock().push(Waiting { ended, written });
        self.0.came.notify_one();
        // Where nobody writes any more, the process ends, and others take what it owned.
        let _ = done.await;
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes ends until `last`, and then what is still there, if the store takes it.
pub(super) async fn write(worker: Worker, last: CancellationToken) {
    let ends = &worker.deliveries.ends;
    loop {
        let batch = ends.take();
        if !batch.is_empty() {
            commit(&worker, batch, &last).await;
            continue;
        }
        tokio::select! {
            () = ends.0.came.notified() => {}
            () = last.cancelled() => return,
        }
    }
}

async fn commit(worker: &Worker, batch: Vec<Waiting>, last: &CancellationToken) {
    let (ended, written): (Vec<Ended>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.ended, waiting.written)).unzip();
    while let Err(error) = record(worker, &ended).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "ends of deliveries were not written");
        if !error.is_away() {
            record_singly(worker, &ended).await;
            break;
        }
        if last.is_cancelled() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    for written in written {
        // Its task may have been aborted.
        let _ = written.send(());
    }
}

/// After a commit whose outcome is unknown the same again changes nothing: the fences have moved on.
async fn record(worker: &Worker, ended: &[Ended]) -> Result<(), StoreError> {
    let clock = worker.services.clock.as_ref();
    let record = async |conn: Conn<'_>| attempts::record(conn, worker.process, ended, clock).await;
    worker.services.db.writing(record).await
}

/// A fault in the data fails the end that has it, alone; the delivery is handed back by the books.
async fn record_singly(worker: &Worker, ended: &[Ended]) {
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
