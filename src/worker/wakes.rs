//! What other processes have done is seen by polls: ends of turns that clients
//! wait for here, and ends of turns that tasks run here.

use tokio_util::sync::CancellationToken;

use super::{POLL, Worker};
use crate::domain::error::Error;
use crate::service::waiters;
use crate::store::{Conn, processes};

/// Polls until `last`.
pub(super) async fn poll(worker: Worker, last: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = last.cancelled() => return,
        }
        if let Err(error) = poll_once(&worker).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other processes' doings could not be read"
            );
        }
    }
}

async fn poll_once(worker: &Worker) -> Result<(), Error> {
    waiters::poll(&worker.services, |turn| worker.books.has(turn)).await?;
    if worker.services.db.is_shared() && worker.books.count() > 0 {
        let take = async |conn: Conn<'_>| processes::take_cancellations(conn, worker.process).await;
        let ended = worker.services.db.writing(take).await?;
        for turn in ended {
            worker.books.cancel(turn);
        }
    }
    Ok(())
}
