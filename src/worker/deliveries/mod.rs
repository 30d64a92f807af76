//! Webhook deliveries: claims due ones, sends them, and records their outcomes. The deliveries of a dead process are
//! claimed again, so an endpoint gets each event at least once.

mod claims;
mod outcome_writer;
mod slots;

use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::reconcile::{self, RegisteredWork};
use super::registry::{TaskGuard, TaskRegistry};
use crate::domain::delivery::{DeliveryKey, DeliveryOutcome, Disposition, OutcomeWrite};
use crate::domain::error::Error;
use crate::lifecycle::Tasks;
use crate::service::deliver_event::{Job, WebhookSender, disable_command};
use crate::store::ownership::Owned;
use crate::telemetry::DELIVERIES_ENDED;
use outcome_writer::OutcomeWriter;
use slots::{DeliverySlot, DeliverySlots};

/// How many deliveries this process sends at once.
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
    tasks: TaskRegistry<DeliveryKey>,
    slots: DeliverySlots,
    outcomes: OutcomeWriter,
    /// Notified when there may be something to claim.
    wake: Arc<Notify>,
}

impl Deliveries {
    pub(super) fn new(sender: WebhookSender, settings: DeliverySettings) -> Self {
        Self {
            sender: Arc::new(sender),
            settings,
            tasks: TaskRegistry::default(),
            slots: DeliverySlots::default(),
            outcomes: OutcomeWriter::default(),
            wake: Arc::default(),
        }
    }

    /// The most deliveries of one workspace in flight, and how many may be in flight.
    pub(super) fn largest_workspace(&self) -> (usize, usize) {
        (self.slots.largest_workspace(), self.settings.max_in_flight)
    }

    /// Claims at once instead of at the next poll: deliveries were written here, or slots were freed.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Starts the claims, which end when the process begins to stop, and the outcome writer, which ends at `background_stop`.
pub(super) fn start(worker: &Worker, background: &Tasks, background_stop: &CancellationToken) {
    let write_outcomes = outcome_writer::run(worker.clone(), background_stop.clone());
    background.spawn_critical("delivery outcomes", write_outcomes.map(Ok));
    let claiming = worker.clone();
    worker.tasks.spawn_restarted("delivery claims", move || claims::claim(claiming.clone()));
    worker.spawn_until_stop("delivery reconciliation", reconcile::run::<DeliveryKey>);
}

/// A delivery that this process owns: its task, and its slot until it is answered.
struct OwnedDelivery {
    task: TaskGuard<DeliveryKey>,
    slot: DeliverySlot,
}

impl OwnedDelivery {
    /// Registers a delivery that this process has claimed.
    fn register(deliveries: &Deliveries, key: DeliveryKey, is_failing: bool) -> Self {
        let slot = deliveries.slots.take((key.workspace, key.endpoint), is_failing);
        Self { task: deliveries.tasks.register(key), slot }
    }
}

impl RegisteredWork for DeliveryKey {
    type TaskKey = Self;

    fn task_key(&self) -> Self {
        *self
    }

    fn registry(worker: &Worker) -> &TaskRegistry<Self> {
        &worker.deliveries.tasks
    }

    async fn hand_back(worker: &Worker, Owned { key, fence }: Owned<Self>) -> Result<(), Error> {
        let outcome = DeliveryOutcome::HandedBack;
        worker.deliveries.outcomes.write(OutcomeWrite { key, fence, outcome }).await;
        Ok(())
    }
}

/// Sends a claimed delivery as a task, which may finish while the process stops.
fn send(worker: &Worker, job: Job, OwnedDelivery { task, slot }: OwnedDelivery) {
    let task_worker = worker.clone();
    worker.tasks.spawn("delivery", async move {
        let (hard, cancelled) = (task_worker.tasks.hard_stop(), task.cancelled());
        let outcome = tokio::select! {
            biased;
            () = hard.cancelled() => DeliveryOutcome::HandedBack,
            () = cancelled.cancelled() => DeliveryOutcome::HandedBack,
            outcome = attempt(&task_worker, &job) => outcome,
        };
        drop(slot);
        task_worker.deliveries.wake();
        finish(&task_worker, &job, outcome).await;
        drop(task);
        // The next delivery of its conversation may be claimed now.
        task_worker.deliveries.wake();
    });
}

async fn attempt(worker: &Worker, job: &Job) -> DeliveryOutcome {
    // If this process was frozen after the claim, another may have taken the delivery over.
    if !worker.lease.is_valid() {
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
        && let Err(error) = worker.services.writer.execute(disable).await
    {
        // The next attempt comes to the same decision.
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
