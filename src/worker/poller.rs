//! Polls for the effects of other processes: ends of turns that clients of this process wait for or its tasks run, and
//! events that its followers wait for. Also records gauges, and closes connections that were idle for long.

use tokio_util::sync::CancellationToken;

use super::{POLL_INTERVAL, Worker};
use crate::domain::error::Error;
use crate::domain::turn::Api;
use crate::service::{await_reply, follow_events};
use crate::store::Conn;
use crate::store::turns::cancellations;
use crate::telemetry::{
    EVENT_FOLLOWERS, STORE_CONNECTIONS, STORE_CONNECTIONS_MAX, TURNS_RUNNING, WIDGET_REQUESTS_WAITING,
    WRITER_QUEUE_LENGTH,
};

/// Polls until `background_stop`.
pub(super) async fn poll(worker: Worker, background_stop: CancellationToken) {
    for round in 0_u32.. {
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = background_stop.cancelled() => return,
        }
        record_gauges(&worker);
        worker.services.db.close_idle();
        // An error of one poll does not prevent the others.
        let failures = &worker.failures;
        failures.record("ended turns could not be read", wake_clients(&worker).await);
        failures.record("cancelled turns could not be read", cancel_tasks(&worker).await);
        failures.record("new events could not be read", follow_events::poll(&worker.services, round).await);
    }
}

async fn wake_clients(worker: &Worker) -> Result<(), Error> {
    await_reply::poll(&worker.services, |turn| worker.turns.contains(turn)).await
}

async fn cancel_tasks(worker: &Worker) -> Result<(), Error> {
    if worker.services.db.is_shared() && worker.turns.count() > 0 {
        let take_notices = async |conn: Conn<'_>| cancellations::drain(conn, worker.process).await;
        let noticed = worker.services.db.control_write(take_notices).await?;
        for (turn, is_stop) in noticed {
            if is_stop {
                worker.turns.stop(turn);
            } else {
                worker.turns.cancel(turn);
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
fn record_gauges(worker: &Worker) {
    metrics::gauge!(WRITER_QUEUE_LENGTH).set(worker.services.writer.queue_depth() as f64);
    metrics::gauge!(WIDGET_REQUESTS_WAITING).set(worker.services.waiters.count() as f64);
    metrics::gauge!(EVENT_FOLLOWERS).set(worker.services.followers.count() as f64);
    for usage in worker.services.db.pool_usage() {
        for (state, count) in [("used", usage.used), ("idle", usage.idle)] {
            metrics::gauge!(STORE_CONNECTIONS, "pool" => usage.pool, "state" => state).set(count as f64);
        }
        metrics::gauge!(STORE_CONNECTIONS_MAX, "pool" => usage.pool).set(f64::from(usage.max));
    }
    for api in Api::ALL {
        metrics::gauge!(TURNS_RUNNING, "api" => api.as_str()).set(worker.slots.running(*api) as f64);
    }
}
