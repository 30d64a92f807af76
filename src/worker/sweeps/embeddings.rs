//! Embeds documents in the background: after a change, at the start, and when another model was configured. Documents
//! without vectors are found by their words, so nothing waits for this.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::domain::retry;
use crate::service::embed_documents::{DocumentEmbedder, RETIRED_RETENTION};
use crate::store::knowledge::embedding_jobs;
use crate::store::{StoreError, Tenant};
use crate::worker::Worker;

/// How often documents of other processes are looked for.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How often the use of the model is recorded and the backlog is counted.
const STATS_INTERVAL: Duration = Duration::from_mins(1);
/// How often all documents are checked and unused models are removed.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// The pause between removals, so that on SQLite the writer gets its turn.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// Embeds until the process stops.
pub(in crate::worker) async fn embed(worker: Worker, embeddings: DocumentEmbedder) {
    if !worker.services.db.is_shared() {
        log_failure(
            "claims could not be released",
            worker.services.db.write(Tenant::Process, embedding_jobs::release_all).await,
        );
    }
    let mut state = embeddings.initial_state();
    let mut failures = 0;
    let started_at = Instant::now();
    let (mut next_stats_at, mut next_sweep_at) = (started_at, started_at);
    loop {
        if Instant::now() >= next_sweep_at {
            log_failure("documents could not be checked", sweep(&worker, &embeddings).await);
            // A document that was being written at the start may have been missed, so the second sweep comes soon.
            next_sweep_at = if started_at.elapsed() < IDLE_POLL_INTERVAL {
                started_at + IDLE_POLL_INTERVAL
            } else {
                Instant::now() + SWEEP_INTERVAL
            };
        }
        if Instant::now() >= next_stats_at {
            log_failure(
                "the use of the model could not be recorded",
                embeddings.record_use(&worker.services).await,
            );
            log_failure("documents could not be counted", embeddings.report_backlog(&worker.services).await);
            next_stats_at = Instant::now() + STATS_INTERVAL;
        }
        match embeddings.embed_next_documents(&worker.services, &mut state).await {
            Ok(0) => {
                failures = 0;
                let changed = worker.services.documents_changed.notified();
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

/// Enqueues documents that no process has enqueued, and removes the vectors of unused models.
async fn sweep(worker: &Worker, embeddings: &DocumentEmbedder) -> Result<(), StoreError> {
    // First, so that processes which write documents from now on enqueue them.
    embeddings.record_use(&worker.services).await?;
    embeddings.enqueue_missing(&worker.services).await?;
    while embeddings.remove_retired(&worker.services, RETIRED_RETENTION).await? {
        tokio::time::sleep(REMOVAL_PAUSE).await;
    }
    Ok(())
}

/// Logs an error; the next round repeats the work.
fn log_failure(what: &'static str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(error = &error as &dyn Error, "{what}");
    }
}
