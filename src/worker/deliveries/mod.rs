//! Events on their way to webhook endpoints: claims deliveries that are due, sends them,
//! and writes how that ended. What a dead process had under way is claimed again: an
//! endpoint may get an event twice, never not at all.

mod claims;
mod in_flight;
mod outcome_writer;
mod reconcile;

use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::domain::delivery::{DeliveryOutcome, Disposition, OutcomeWrite};
use crate::lifecycle::Tasks;
use crate::service::deliver_event::{Job, WebhookSender, disable_command};
use crate::store::StoreError;
use crate::telemetry::DELIVERIES_ENDED;
use in_flight::{InFlightGuard, InFlightSet};
use outcome_writer::OutcomeWriter;

/// How many deliveries this process may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// `webhooks.max_in_flight`.
    pub max_in_flight: usize,
    /// `webhooks.max_in_flight_per_endpoint`.
    pub max_in_flight_per_endpoint: usize,
}

/// The deliveries of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Deliveries {
    sender: Arc<WebhookSender>,
    settings: DeliverySettings,
    in_flight: InFlightSet,
    outcomes: OutcomeWriter,
    /// There may be something to claim.
    wake: Arc<Notify>,
}

impl Deliveries {
    pub(super) fn new(sender: WebhookSender, settings: DeliverySettings) -> Self {
        Self {
            sender: Arc::new(sender),
            settings,
            in_flight: InFlightSet::default(),
            outcomes: OutcomeWriter::default(),
            wake: Arc::default(),
        }
    }

    /// Looks for deliveries at once: some were written here, or places are free again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Starts what claims, which ends where the process begins to stop, and what writes ends, until `background_stop`.
pub(super) fn start(worker: &Worker, background: &Tasks, background_stop: &CancellationToken) {
    let write_outcomes = outcome_writer::run(worker.clone(), background_stop.clone());
    background.spawn_critical("delivery outcomes", write_outcomes.map(Ok));
    worker.tasks.spawn_critical("delivery claims", claims::claim(worker.clone()).map(Ok));
    worker.spawn_until_stop("delivery reconciliation", reconcile::run(worker.clone()));
}

/// After an outage: ends the attempts at deliveries that others have taken in the meantime.
pub(super) async fn cancel_fenced_off(worker: &Worker) -> Result<(), StoreError> {
    reconcile::cancel_fenced_off(worker).await
}

/// Sends a claimed delivery as a task of its own, which may finish while the process stops.
fn send(worker: &Worker, job: Job, mut guard: InFlightGuard) {
    let task_worker = worker.clone();
    worker.tasks.spawn("delivery", async move {
        let (hard, fenced_off) = (task_worker.tasks.hard_stop(), guard.fenced_off());
        let outcome = tokio::select! {
            biased;
            () = hard.cancelled() => DeliveryOutcome::HandedBack,
            () = fenced_off.cancelled() => DeliveryOutcome::HandedBack,
            outcome = attempt(&task_worker, &job) => outcome,
        };
        guard.release();
        task_worker.deliveries.wake();
        finish(&task_worker, &job, outcome).await;
        drop(guard);
        // The next of its conversation may go now.
        task_worker.deliveries.wake();
    });
}

async fn attempt(worker: &Worker, job: &Job) -> DeliveryOutcome {
    // A process that was frozen between claim and sending may have been overtaken.
    if !worker.has_lease.is_valid() {
        return DeliveryOutcome::HandedBack;
    }
    let (attempt, disposition) = worker.deliveries.sender.attempt(job).await;
    DeliveryOutcome::Attempted(attempt, disposition)
}

async fn finish(worker: &Worker, job: &Job, outcome: DeliveryOutcome) {
    record_end(&outcome);
    let key = job.claimed.key;
    let disable = match &outcome {
        DeliveryOutcome::Attempted(attempt, disposition) => disable_command(job, attempt, *disposition),
        DeliveryOutcome::HandedBack | DeliveryOutcome::Closed => None,
    };
    worker.deliveries.outcomes.write(OutcomeWrite { key, fence: job.claimed.fence, outcome }).await;
    if let Some(disable) = disable
        && let Err(error) =
            worker.services.writer.disable_endpoint(key.workspace, key.endpoint, disable).await
    {
        // The next attempt finds the same.
        tracing::warn!(endpoint.id = %key.endpoint, error = &error as &dyn std::error::Error, "an endpoint could not be disabled");
    }
}

fn record_end(outcome: &DeliveryOutcome) {
    let state = match outcome {
        DeliveryOutcome::Attempted(_, Disposition::Delivered) => "delivered",
        DeliveryOutcome::Attempted(_, Disposition::Failed) => "failed",
        DeliveryOutcome::Closed => "closed",
        DeliveryOutcome::Attempted(_, Disposition::Retry(_)) | DeliveryOutcome::HandedBack => return,
    };
    metrics::counter!(DELIVERIES_ENDED, "state" => state).increment(1);
}
