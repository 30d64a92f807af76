//! Records gauges that are too costly for each poll: the open turns of the database and whether they could be read, and the
//! workspaces' shares of the bounds of this process.

use std::time::Duration;

use crate::domain::turn::TurnState;
use crate::store::turns::open;
use crate::store::{Conn, StoreError};
use crate::telemetry::{LARGEST_WORKSPACE_SHARE, OLDEST_OPEN_TURN_SECONDS, STORE_REACHABLE, TURNS_OPEN};
use crate::worker::Worker;

const INTERVAL: Duration = Duration::from_secs(10);

/// Records until the process stops.
pub(in crate::worker) async fn record(worker: Worker) {
    let mut is_reachable = true;
    loop {
        record_shares(&worker);
        let counted = record_open_turns(&worker).await;
        match &counted {
            Err(error) if is_reachable => {
                tracing::warn!(error = error as &dyn std::error::Error, "the database cannot be read");
            }
            Ok(()) if !is_reachable => tracing::info!("the database can be read again"),
            Ok(()) | Err(_) => {}
        }
        is_reachable = counted.is_ok();
        metrics::gauge!(STORE_REACHABLE).set(if is_reachable { 1.0 } else { 0.0 });
        tokio::time::sleep(INTERVAL).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^52")]
async fn record_open_turns(worker: &Worker) -> Result<(), StoreError> {
    let clock = worker.services.clock.as_ref();
    let count = async |conn: Conn<'_>| open::count(conn, open::MAX_COUNTED, clock).await;
    let counted = worker.services.db.control_read(count).await?;
    for state in TurnState::ALL.iter().filter(|state| state.is_open()) {
        let open = counted.iter().find(|open| open.state == *state);
        let (count, oldest_age) = open.map_or((0, Duration::ZERO), |open| (open.count, open.oldest_age));
        metrics::gauge!(TURNS_OPEN, "state" => state.as_str()).set(count as f64);
        metrics::gauge!(OLDEST_OPEN_TURN_SECONDS, "state" => state.as_str()).set(oldest_age.as_secs_f64());
    }
    Ok(())
}

fn record_shares(worker: &Worker) {
    let resources = [
        ("running_turns", worker.slots.largest_workspace()),
        ("widget_requests", worker.services.waiters.largest_workspace()),
        ("event_followers", worker.services.followers.largest_workspace()),
        ("deliveries", worker.deliveries.largest_workspace()),
        ("read_connections", worker.services.db.largest_reader()),
    ];
    for (resource, (used, bound)) in resources {
        metrics::gauge!(LARGEST_WORKSPACE_SHARE, "resource" => resource).set(share(used, bound));
    }
}

#[expect(clippy::float_arithmetic, reason = "a share is a ratio; nothing is accounted for")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn share(used: usize, bound: usize) -> f64 {
    used as f64 / bound.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_its_bound() {
        for (used, bound, expected) in [(0, 0, 0.0), (1, 4, 0.25), (4, 4, 1.0)] {
            assert!((share(used, bound) - expected).abs() < f64::EPSILON, "{used} of {bound}");
        }
    }
}
