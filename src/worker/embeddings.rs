//! Embeds documents in the background: after a change, after another model was configured, at the start. It holds up nothing: a
//! document without vectors is found by its words.

use std::error::Error;
use std::time::Duration;

use super::Worker;
use crate::domain::retry;
use crate::service::embed_documents::{Embeddings, RETIRED_KEPT};
use crate::store::{StoreError, embedding_work};

/// How often it is looked for what other processes have written.
const EVERY: Duration = Duration::from_secs(10);
/// Between two transactions that remove, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Embeds until the process stops.
pub(super) async fn embed(worker: Worker, embeddings: Embeddings) {
    if !worker.services.db.is_shared() {
        note("claims could not be given up", worker.services.db.writing(embedding_work::release_all).await);
    }
    let mut course = embeddings.course();
    let mut failed = 0;
    loop {
        note("documents could not be counted", embeddings.note_what_is_left(&worker.services).await);
        match embeddings.embed_some(&worker.services, &mut course).await {
            Ok(0) => {
                failed = 0;
                note("old vectors could not be removed", remove_retired(&worker, &embeddings).await);
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

async fn remove_retired(worker: &Worker, embeddings: &Embeddings) -> Result<(), StoreError> {
    while embeddings.remove_retired(&worker.services, RETIRED_KEPT).await? > 0 {
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
