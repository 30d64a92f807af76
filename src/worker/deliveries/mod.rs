//! Events on their way to webhook endpoints: claims deliveries that are due, sends them,
//! and writes how that ended. What a dead process had under way is claimed again: an
//! endpoint may get an event twice, never not at all.

mod claims;
mod ends;
mod flights;
mod owned;

use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::domain::delivery::{End, Ended, Next};
use crate::lifecycle::Tasks;
use crate::service::deliver_event::{Job, Sender, disabling};
use crate::store::StoreError;
use crate::telemetry::DELIVERIES_ENDED;
use ends::Ends;
use flights::{Flight, Flights};

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
    sender: Arc<Sender>,
    settings: DeliverySettings,
    flights: Flights,
    ends: Ends,
    /// There may be something to claim.
    wake: Arc<Notify>,
}

impl Deliveries {
    pub(super) fn new(sender: Sender, settings: DeliverySettings) -> Self {
        Self {
            sender: Arc::new(sender),
            settings,
            flights: Flights::default(),
            ends: Ends::default(),
            wake: Arc::default(),
        }
    }

    /// Looks for deliveries at once: some were written here, or places are free again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Starts what claims, which ends where the process begins to stop, and what writes ends, until `last`.
pub(super) fn start(worker: &Worker, background: &Tasks, last: &CancellationToken) {
    let write = ends::write(worker.clone(), last.clone());
    background.spawn_critical("ends of deliveries", write.map(Ok));
    worker.turns.spawn_critical("deliveries", claims::claim(worker.clone()).map(Ok));
    worker.spawn_until_stop("own deliveries", owned::compare(worker.clone()));
}

/// After an outage: ends the attempts at deliveries that others have taken in the meantime.
pub(super) async fn look_again(worker: &Worker) -> Result<(), StoreError> {
    owned::look_again(worker).await
}

/// Sends a claimed delivery as a task of its own, which may finish while the process stops.
fn send(worker: &Worker, job: Job, mut flight: Flight) {
    let at_work = worker.clone();
    worker.turns.spawn("delivery", async move {
        let (hard, overtaken) = (at_work.turns.hard(), flight.overtaken());
        let end = tokio::select! {
            biased;
            () = hard.cancelled() => End::HandedBack,
            () = overtaken.cancelled() => End::HandedBack,
            end = attempt(&at_work, &job) => end,
        };
        flight.land();
        at_work.deliveries.wake();
        finish(&at_work, &job, end).await;
        drop(flight);
        // The next of its conversation may go now.
        at_work.deliveries.wake();
    });
}

async fn attempt(worker: &Worker, job: &Job) -> End {
    // A process that was frozen between claim and sending may have been overtaken.
    if !worker.has_lease.now() {
        return End::HandedBack;
    }
    let (attempt, next) = worker.deliveries.sender.attempt(job).await;
    End::Attempted(attempt, next)
}

async fn finish(worker: &Worker, job: &Job, end: End) {
    count(&end);
    let key = job.claimed.key;
    let disabling = match &end {
        End::Attempted(attempt, next) => disabling(job, attempt, *next),
        End::HandedBack | End::Closed => None,
    };
    worker.deliveries.ends.write(Ended { key, fence: job.claimed.fence, end }).await;
    if let Some(disabling) = disabling
        && let Err(error) =
            worker.services.writer.disable_endpoint(key.workspace, key.endpoint, disabling).await
    {
        // The next attempt finds the same.
        tracing::warn!(endpoint.id = %key.endpoint, error = &error as &dyn std::error::Error, "an endpoint could not be disabled");
    }
}

fn count(end: &End) {
    let state = match end {
        End::Attempted(_, Next::Delivered) => "delivered",
        End::Attempted(_, Next::Failed) => "failed",
        End::Closed => "closed",
        End::Attempted(_, Next::Again(_)) | End::HandedBack => return,
    };
    metrics::counter!(DELIVERIES_ENDED, "state" => state).increment(1);
}
