//! Ends turns that have been open for too long.

use std::time::Duration;

use futures::future::join_all;

use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::turn::{TurnEnd, TurnRef};
use crate::store::Conn;
use crate::store::turns::overdue::{self, OverdueReason, OverdueTurn};
use crate::worker::Worker;
use crate::writer::{EndAuthority, EndTurn, TurnWriteOutcome};

const INTERVAL: Duration = Duration::from_secs(1);
const BATCH: i64 = 256;

/// Sweeps until the process stops.
pub(in crate::worker) async fn sweep(worker: Worker) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        worker.failures.record("overdue turns could not be ended", end_overdue(&worker).await);
    }
}

async fn end_overdue(worker: &Worker) -> Result<(), Error> {
    let services = &worker.services;
    let (life, clock) = (worker.settings.life, services.clock.as_ref());
    let list = async |conn: Conn<'_>| overdue::list(conn, life, BATCH, clock).await;
    loop {
        let overdue = services.db.control_read(list).await?;
        let (found, batch) = (overdue.len(), usize::try_from(BATCH).unwrap_or(usize::MAX));
        // Concurrently, so that they are committed together and an error of one does not affect the others.
        let ended = join_all(overdue.into_iter().map(|overdue| end_one(worker, overdue))).await;
        // After a full batch there may be more, unless none could be ended.
        if found < batch || !ended.contains(&true) {
            return Ok(());
        }
    }
}

/// Whether the turn was ended.
async fn end_one(worker: &Worker, OverdueTurn { turn, reason }: OverdueTurn) -> bool {
    let (authority, failure) = match reason {
        OverdueReason::Deadline => (EndAuthority::Deadline, Failure::Timeout),
        OverdueReason::Age => (EndAuthority::Overdue { fence: turn.fence }, Failure::TooOld),
        OverdueReason::Takeovers => (EndAuthority::Overdue { fence: turn.fence }, Failure::TooManyTakeovers),
    };
    let turn_ref = TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id };
    let end = TurnEnd::Failed(failure);
    let model_error = worker.services.model_calls.error(turn.id);
    let command = EndTurn { turn: turn_ref, authority, end, journal: None, model_error, tokens: 0 };
    match worker.services.writer.execute(command).await {
        Ok(outcome) => matches!(outcome, TurnWriteOutcome::Accepted(_)),
        Err(error) => {
            tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "an overdue turn could not be ended");
            false
        }
    }
}
