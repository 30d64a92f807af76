//! Ends what has been open for too long.

use std::time::Duration;

use futures::future::join_all;

use super::Worker;
use crate::domain::batch::{Ending, Right, Step, TurnRef};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::turn::TurnEnd;
use crate::store::Conn;
use crate::store::overdue::{self, Overdue, OverdueKind};

const EVERY: Duration = Duration::from_secs(1);
const BATCH: i64 = 256;
/// Sweeps until the process stops.
pub(super) async fn sweep(worker: Worker) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = end_overdue(&worker).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "overdue turns could not be ended");
        }
    }
}

async fn end_overdue(worker: &Worker) -> Result<(), Error> {
    let services = &worker.services;
    let (life, clock) = (worker.settings.life, services.clock.as_ref());
    let list = async |conn: Conn<'_>| overdue::list(conn, life, BATCH, clock).await;
    loop {
        let overdue = services.db.reading(list).await?;
        let (found, most) = (overdue.len(), usize::try_from(BATCH).unwrap_or(usize::MAX));
        // At once, so that they are committed together; one that cannot be ended holds up no other.
        let ended = join_all(overdue.into_iter().map(|overdue| end_one(worker, overdue))).await;
        // A full batch says that there may be more, unless it is the same ones again.
        if found < most || !ended.contains(&true) {
            return Ok(());
        }
    }
}

/// Whether it is ended now.
async fn end_one(worker: &Worker, Overdue { turn, why }: Overdue) -> bool {
    let (right, failure) = match why {
        OverdueKind::Deadline => (Right::Deadline, Failure::Timeout),
        OverdueKind::Age => (Right::Overdue { fence: turn.fence }, Failure::TooOld),
        OverdueKind::Takeovers => (Right::Overdue { fence: turn.fence }, Failure::TooManyTakeovers),
    };
    let place = TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id };
    let end = TurnEnd::Failed(failure);
    let ending = Ending { turn: place, right, end, journal: None };
    match worker.services.writer.end(ending).await {
        Ok(step) => matches!(step, Step::Done(_)),
        Err(error) => {
            tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "an overdue turn could not be ended");
            false
        }
    }
}
