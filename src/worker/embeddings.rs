//! Embeds documents in the background: after a change, after another model was configured, at the start. It holds up nothing: a
//! document without vectors is found by its words.

use std::error::Error;
use std::time::{Duration, Instant};

use super::Worker;
use crate::domain::retry;
use crate::service::embed_documents::{Embeddings, RETIRED_KEPT};
use crate::store::{StoreError, embedding_work};

/// How often it is looked for what other processes have written.
const EVERY: Duration = Duration::from_secs(10);
/// How often the use of the model is noted, and counted what is left.
const ROUND: Duration = Duration::from_mins(1);
/// How often all documents are gone over, and models that nobody uses any more.
const SWEEP: Duration = Duration::from_mins(10);
/// Between two transactions that remove, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Embeds until the process stops.
pub(super) async fn embed(worker: Worker, embeddings: Embeddings) {
    if !worker.services.db.is_shared() {
        note("claims could not be given up", worker.services.db.writing(embedding_work::release_all).await);
    }
    let mut course = embeddings.course();
    let mut failed = 0;
    let begun = Instant::now();
    let (mut round_at, mut sweep_at) = (begun, begun);
    loop {
        if Instant::now() >= sweep_at {
            note("documents could not be gone over", sweep(&worker, &embeddings).await);
            // A document that was being written at the start may have been missed: soon once more.
            sweep_at = if begun.elapsed() < EVERY { begun + EVERY } else { Instant::now() + SWEEP };
        }
        if Instant::now() >= round_at {
            note("the use of the model could not be noted", embeddings.note_use(&worker.services).await);
            note("documents could not be counted", embeddings.note_what_is_left(&worker.services).await);
            round_at = Instant::now() + ROUND;
        }
        match embeddings.embed_some(&worker.services, &mut course).await {
            Ok(0) => {
                failed = 0;
                let changed = worker.services.documents_changed.notified();
                // Either is a reason to look.
                let _ = tokio::time::timeout(EVERY, changed).await;
            }
            Ok(_) => failed = 0,
            Err(fault) => {
                failed += 1;
                let random = u32::from_le_bytes(worker.services.ids.bytes());
                let pause = retry::pause(failed, fault.retry_after(), random);
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    error = &fault as &dyn Error,
                    pause_ms,
                    "documents could not be embedded; they are found by their words"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Marks what no process has marked, and removes what is of no use to any.
async fn sweep(worker: &Worker, embeddings: &Embeddings) -> Result<(), StoreError> {
    // First: what is written from now on is marked by whoever writes it.
    embeddings.note_use(&worker.services).await?;
    embeddings.mark_all(&worker.services).await?;
    while embeddings.remove_retired(&worker.services, RETIRED_KEPT).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// What did not succeed is tried again in the next round.
fn note(what: &'static str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(error = &error as &dyn Error, "{what}");
    }
}
