//! Removes events, deliveries and attempts that have been kept for long enough, a little at a time.

use std::time::Duration;

use super::Worker;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::store::{Conn, retention};

const EVERY: Duration = Duration::from_mins(1);
/// Events of one transaction.
const BATCH: i64 = 256;
/// Between two of them, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// Workspaces of one round.
const WORKSPACES: i64 = 1000;

/// Removes until the process stops.
pub(super) async fn remove(worker: Worker) {
    loop {
        if let Err(error) = remove_once(&worker).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old events could not be removed");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes all that is too old now.
pub(super) async fn remove_once(worker: &Worker) -> Result<(), Error> {
    let services = &worker.services;
    let (kept, clock) = (worker.settings.events_kept, services.clock.as_ref());
    let list = async |conn: Conn<'_>| retention::list_overdue(conn, kept, WORKSPACES, clock).await;
    for workspace in services.db.reading(list).await? {
        remove_of(worker, workspace).await?;
    }
    Ok(())
}

async fn remove_of(worker: &Worker, workspace: WorkspaceId) -> Result<(), Error> {
    let services = &worker.services;
    let (kept, clock) = (worker.settings.events_kept, services.clock.as_ref());
    let pass = async |conn: Conn<'_>| retention::pass_over(conn, workspace, kept, BATCH, clock).await;
    let remove = async |conn: Conn<'_>| retention::remove(conn, workspace, BATCH).await;
    loop {
        let passed = services.db.writing(pass).await?;
        let removed = services.db.writing(remove).await?;
        if passed == 0 && removed == 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
