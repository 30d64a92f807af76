//! Counts the usage of workspaces in the background, in small transactions. Workspaces take turns, so one with a large backlog does not delay
//! others.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::ids::WorkspaceId;
use crate::service::usage::count_part;
use crate::store::{Conn, StoreError, Tenant, usage};
use crate::worker::Worker;

/// How often workspaces with uncounted events are looked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(5);
/// How many workspaces one query lists at most.
const WORKSPACE_BATCH: i64 = 1000;

/// Counts until the process stops. Of failures in a row, the first is logged.
pub(in crate::worker) async fn count(worker: Worker) {
    let mut is_failing = false;
    loop {
        let counted = count_round(&worker).await;
        match &counted {
            Err(error) if !is_failing => {
                tracing::warn!(error = error as &dyn std::error::Error, "usage could not be counted");
            }
            Ok(_) | Err(_) => {}
        }
        is_failing = counted.is_err();
        if !matches!(counted, Ok(true)) {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Counts a part of each workspace that is behind. Returns whether any has more.
async fn count_round(worker: &Worker) -> Result<bool, StoreError> {
    let db = &worker.services.db;
    let (mut after, mut has_more) = (WorkspaceId(Uuid::nil()), false);
    loop {
        let list = async |conn: Conn<'_>| usage::list_behind(conn, after, WORKSPACE_BATCH).await;
        let behind = db.read(Tenant::Process, list).await?;
        let Some(end) = behind.last() else { return Ok(has_more) };
        after = *end;
        for workspace in behind {
            match count_part(db, Tenant::Process, workspace).await {
                Ok(is_left) => has_more |= is_left,
                // The others are still counted.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(workspace.id = %workspace, error, "the usage of a workspace could not be counted");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
