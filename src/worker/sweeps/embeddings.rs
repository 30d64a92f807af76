//! Embeds documents in the background: after a change, after another model was configured, at the start. It holds up nothing: a
//! document without vectors is found by its words.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::domain::retry;
use crate::service::embed_documents::{DocumentEmbedder, RETIRED_RETENTION};
use crate::store::StoreError;
use crate::store::knowledge::embedding_jobs;
use crate::worker::Worker;

/// How often it is looked for what other processes have written.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How often the use of the model is noted, and counted what is left.
const STATS_INTERVAL: Duration = Duration::from_mins(1);
/// How often all documents are gone over, and models that nobody uses any more.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// Between two transactions that remove, so that on SQLite the writer gets its turn.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// Embeds until the process stops.
pub(in crate::worker) async fn embed(worker: Worker, embeddings: DocumentEmbedder) {
    if !worker.services.db.is_shared() {
        log_failure(
            "claims could not be given up",
            worker.services.db.write(embedding_jobs::release_all).await,
        );
    }
    let mut state = embeddings.initial_state();
    let mut failures = 0;
    let started_at = Instant::now();
    let (mut next_stats_at, mut next_sweep_at) = (started_at, started_at);
    loop {
        if Instant::now() >= next_sweep_at {
            log_failure("documents could not be gone over", sweep(&worker, &embeddings).await);
            // A document that was being written at the start may have been missed: soon once more.
            next_sweep_at = if started_at.elapsed() < IDLE_POLL_INTERVAL {
                started_at + IDLE_POLL_INTERVAL
            } else {
                Instant::now() + SWEEP_INTERVAL
            };
        }
        if Instant::now() >= next_stats_at {
            log_failure(
                "the use of the model could not be noted",
                embeddings.record_use(&worker.services).await,
            );
            log_failure("documents could not be counted", embeddings.report_backlog(&worker.services).await);
            next_stats_at = Instant::now() + STATS_INTERVAL;
        }
        match embeddings.embed_next_documents(&worker.services, &mut state).await {
            Ok(0) => {
                failures = 0;
                let changed = worker.services.documents_changed.notified();
                // Either is a reason to look.
                let _ = tokio::time::timeout(IDLE_POLL_INTERVAL, changed).await;
            }
            Ok(_) => failures = 0,
            Err(error) => {
                failures += 1;
                let random = u32::from_le_bytes(worker.services.ids.bytes());
                let pause = retry::backoff(failures, error.retry_after(), random);
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    error = &error as &dyn Error,
                    pause_ms,
                    "documents could not be embedded; they are found by their words"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Marks what no process has marked, and removes what is of no use to any.
async fn sweep(worker: &Worker, embeddings: &DocumentEmbedder) -> Result<(), StoreError> {
    // First: what is written from now on is marked by whoever writes it.
    embeddings.record_use(&worker.services).await?;
    embeddings.enqueue_missing(&worker.services).await?;
    while embeddings.remove_retired(&worker.services, RETIRED_RETENTION).await? {
        tokio::time::sleep(REMOVAL_PAUSE).await;
    }
    Ok(())
}

/// What did not succeed is tried again in the next round.
fn log_failure(what: &'static str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(error = &error as &dyn Error, "{what}");
    }
}
