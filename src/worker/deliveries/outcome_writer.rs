//! Records the outcomes of deliveries: a group commit of their own, without a workspace lock.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::Worker;
use crate::domain::delivery::{DeliveryOutcome, OutcomeWrite};
use crate::domain::ids::WorkspaceId;
use crate::store::deliveries::attempts;
use crate::store::{Conn, StoreError};
use crate::writer::group_commit::{Commit, GroupQueue, QueueItem, QueueLimits};

const BATCH_LIMITS: QueueLimits = QueueLimits { items: 256, bytes: 4 * 1024 * 1024 };
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The queue of outcomes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OutcomeWriter(GroupQueue<PendingOutcome>);

#[derive(Debug)]
struct PendingOutcome {
    write: OutcomeWrite,
    done: oneshot::Sender<()>,
}

impl QueueItem for PendingOutcome {
    fn workspace(&self) -> WorkspaceId {
        self.write.key.workspace
    }

    fn bytes(&self) -> usize {
        let excerpt = match &self.write.outcome {
            DeliveryOutcome::Attempted(attempt, _) => attempt.excerpt.as_ref().map_or(0, String::len),
            DeliveryOutcome::HandedBack | DeliveryOutcome::Closed => 0,
        };
        512 + excerpt
    }
}

impl OutcomeWriter {
    /// Returns when the outcome is written: waits for the database as long as the process lives.
    pub(super) async fn write(&self, write: OutcomeWrite) {
        let (done, written) = oneshot::channel();
        self.0.push(PendingOutcome { write, done });
        // If it is not written, the process ends and others take over the delivery, or the reconciliation hands it back.
        let _ = written.await;
    }
}

/// Writes outcomes until `background_stop`, and then those that are still queued, if the database is available.
pub(super) async fn run(worker: Worker, background_stop: CancellationToken) {
    let queue = worker.deliveries.outcomes.0.clone();
    let committer = OutcomeCommitter { worker, background_stop: background_stop.clone() };
    queue.run(BATCH_LIMITS, committer, background_stop).await;
}

struct OutcomeCommitter {
    worker: Worker,
    background_stop: CancellationToken,
}

impl Commit<PendingOutcome> for OutcomeCommitter {
    async fn commit(&mut self, batch: Vec<PendingOutcome>) -> Vec<PendingOutcome> {
        let (writes, done): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.write, pending.done)).unzip();
        if let Err(error) = self.record(&writes).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "outcomes of deliveries were not written"
            );
            if error.is_transient() && self.background_stop.is_cancelled() {
                return Vec::new();
            }
            if error.is_transient() {
                tokio::time::sleep(RETRY_DELAY).await;
                let pending = writes.into_iter().zip(done);
                return pending.map(|(write, done)| PendingOutcome { write, done }).collect();
            }
            self.record_individually(&writes).await;
        }
        for done in done {
            // Its task may have been aborted.
            let _ = done.send(());
        }
        Vec::new()
    }
}

impl OutcomeCommitter {
    /// Repeating it after an uncertain commit changes nothing, because the fences have changed.
    async fn record(&self, writes: &[OutcomeWrite]) -> Result<(), StoreError> {
        let Worker { services, process, .. } = &self.worker;
        let clock = services.clock.as_ref();
        let record = async |conn: Conn<'_>| attempts::record(conn, *process, writes, clock).await;
        services.db.control_write(record).await
    }

    /// Invalid data fails only its own outcome; reconciliation hands its delivery back.
    async fn record_individually(&self, writes: &[OutcomeWrite]) {
        for write in writes {
            if let Err(error) = self.record(std::slice::from_ref(write)).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(endpoint.id = %write.key.endpoint, error, "the outcome of a delivery was not written");
            }
        }
    }
}
