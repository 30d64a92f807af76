//! What other processes have done is seen by polls: ends of turns that clients
//! wait for here, ends of turns that tasks run here, and events that readers follow.

use tokio_util::sync::CancellationToken;

use super::{POLL, Worker};
use crate::domain::error::Error;
use crate::domain::turn::Door;
use crate::service::{follow_events, waiters};
use crate::store::{Conn, cancellations};
use crate::telemetry::{FEED_FOLLOWERS, TURNS_RUNNING, WIDGET_WAITING, WRITER_QUEUED};

/// Polls until `last`.
pub(super) async fn poll(worker: Worker, last: CancellationToken) {
    for round in 0_u32.. {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = last.cancelled() => return,
        }
        show(&worker);
        // None waits for another to succeed.
        let feed = follow_events::poll(&worker.services, round);
        for read in [wake_clients(&worker).await, cancel_tasks(&worker).await, feed.await] {
            if let Err(error) = read {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "other processes' doings could not be read");
            }
        }
    }
}

async fn wake_clients(worker: &Worker) -> Result<(), Error> {
    waiters::poll(&worker.services, |turn| worker.books.has(turn)).await
}

async fn cancel_tasks(worker: &Worker) -> Result<(), Error> {
    if worker.services.db.is_shared() && worker.books.count() > 0 {
        let take = async |conn: Conn<'_>| cancellations::take(conn, worker.process).await;
        let ended = worker.services.db.writing(take).await?;
        for turn in ended {
            worker.books.cancel(turn);
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
fn show(worker: &Worker) {
    metrics::gauge!(WRITER_QUEUED).set(worker.services.writer.waiting() as f64);
    metrics::gauge!(WIDGET_WAITING).set(worker.services.waiters.count() as f64);
    metrics::gauge!(FEED_FOLLOWERS).set(worker.services.followers.count() as f64);
    for door in Door::ALL {
        metrics::gauge!(TURNS_RUNNING, "door" => door.as_str()).set(worker.slots.in_use(*door) as f64);
    }
}
