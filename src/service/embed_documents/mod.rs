//! Embeds documents: stores a vector of the configured model for each passage that has none. A batch of texts can span
//! several documents.

mod claims;
mod vectors;

use std::time::Duration;

use uuid::Uuid;

use super::Services;
use crate::domain::ids::WorkspaceId;
use crate::domain::knowledge::{embedding_text, text_digest};
use crate::model::embeddings::{Embedder, EmbeddingsError};
use crate::store::knowledge::embedding_jobs::EmbeddingJob;
use crate::store::knowledge::passage_vectors::{PassageEmbedding, UnembeddedPassage};
use crate::store::knowledge::{embedding_jobs, embedding_models, passage_vectors};
use crate::store::{Conn, StoreError, Tenant};
use crate::telemetry::{DOCUMENTS_PENDING_EMBEDDING, PASSAGES_EMBEDDED};
use claims::Claims;
use vectors::StopReason;

/// How long the vectors of a model are retained after its last use, because a deployment may be rolled back or run two
/// configurations at once.
pub const RETIRED_RETENTION: Duration = Duration::from_hours(24);
/// Maximum number of documents enqueued in one transaction.
const ENQUEUE_BATCH: i64 = 500;

/// Embeds documents in the background.
#[derive(Clone, Debug)]
pub struct DocumentEmbedder {
    pub embedder: Embedder,
    /// Maximum number of texts in one request.
    pub batch: usize,
    /// The timeout of one request.
    pub timeout: Duration,
}

/// The state of one process.
#[derive(Clone, Debug)]
pub struct BatchState {
    /// The workspace of the last batch. The next batch continues with the workspace after it.
    last_workspace: WorkspaceId,
    /// Number of texts in a request; reduced if the endpoint is slow.
    size: usize,
    /// Number of fast responses to requests of the current size.
    fast_responses: u32,
}

/// The error of embedding documents. The worker retries.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("the embeddings endpoint: {0}")]
    Endpoint(#[from] EmbeddingsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EmbedError {
    /// The delay that the endpoint requested.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Endpoint(error) => error.retry_after(),
            Self::Store(_) => None,
        }
    }
}

/// A passage with the job of its document and the text to embed.
struct PendingPassage {
    job: EmbeddingJob,
    number: i64,
    text: String,
}

impl PendingPassage {
    fn new(job: EmbeddingJob, passage: &UnembeddedPassage) -> Self {
        let text = embedding_text(&passage.title, &passage.heading, &passage.text);
        Self { job, number: passage.number, text }
    }
}

impl DocumentEmbedder {
    /// The initial state of a process.
    #[must_use]
    pub fn initial_state(&self) -> BatchState {
        BatchState { last_workspace: WorkspaceId(Uuid::nil()), size: self.batch, fast_responses: 0 }
    }

    /// Claims incompletely embedded documents and embeds them. Returns their number; 0 if there is nothing to do.
    pub async fn embed_next_documents(
        &self,
        services: &Services,
        state: &mut BatchState,
    ) -> Result<usize, EmbedError> {
        let mut claims = self.claim(services, state).await?;
        let count = claims.open.len();
        let embedded = self.embed_all(services, state, &mut claims).await;
        // Any process may continue with the rest, including this one.
        for job in claims.open {
            self.release(services, job, false).await?;
        }
        embedded.map(|()| count)
    }

    /// Records that the model is in use, so that all processes enqueue new documents for it and its vectors are retained.
    pub async fn record_use(&self, services: &Services) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        let record = async |conn: Conn<'_>| embedding_models::record_use(conn, model, clock).await;
        services.db.write(Tenant::Process, record).await
    }

    /// Enqueues every document that has no job for the model yet.
    pub async fn enqueue_missing(&self, services: &Services) -> Result<(), StoreError> {
        let model = self.embedder.model();
        let mut after = 0;
        loop {
            let enqueue = async |conn: Conn<'_>| {
                embedding_jobs::enqueue_missing(conn, model, after, ENQUEUE_BATCH).await
            };
            let Some(last) = services.db.write(Tenant::Process, enqueue).await? else { return Ok(()) };
            after = last;
        }
    }

    /// Reports the number of incompletely embedded documents as a metric.
    pub async fn report_backlog(&self, services: &Services) -> Result<(), StoreError> {
        let model = self.embedder.model();
        let count = async |conn: Conn<'_>| embedding_jobs::count(conn, model).await;
        let backlog = services.db.read(Tenant::Process, count).await?;
        metrics::gauge!(DOCUMENTS_PENDING_EMBEDDING)
            .set(f64::from(u32::try_from(backlog).unwrap_or(u32::MAX)));
        Ok(())
    }

    /// Removes the vectors of one document of a model that was not used for `retention`. Returns whether there were any.
    pub async fn remove_retired(&self, services: &Services, retention: Duration) -> Result<bool, StoreError> {
        let clock = services.clock.as_ref();
        let remove = async |conn: Conn<'_>| embedding_models::remove_retired(conn, retention, clock).await;
        services.db.write(Tenant::Process, remove).await
    }

    /// Embeds the claimed documents. Removes those from `claims` that are finished or postponed.
    async fn embed_all(
        &self,
        services: &Services,
        state: &mut BatchState,
        claims: &mut Claims,
    ) -> Result<(), EmbedError> {
        loop {
            let batch = self.next_batch(services, state.size, claims).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let texts: Vec<&str> = batch.iter().map(|passage| passage.text.as_str()).collect();
            let result = self.embed_texts(services, &texts, state, claims).await;
            // Store the vectors received so far even after an error, because they were paid for.
            let rows =
                result.vectors.into_iter().filter_map(|(index, vector)| Some((batch.get(index)?, vector)));
            let rows = rows.map(|(passage, vector)| {
                (
                    passage.job,
                    PassageEmbedding { number: passage.number, digest: text_digest(&passage.text), vector },
                )
            });
            self.store_vectors(services, rows.collect()).await?;
            match result.stop {
                None => {}
                Some(StopReason::Endpoint(error)) => return Err(error.into()),
                Some(StopReason::Timeout(index)) => {
                    if let Some(passage) = batch.get(index) {
                        self.snooze(services, passage.job, claims).await?;
                    }
                }
            }
        }
    }

    /// The next passages of the first documents. Releases documents that turn out to be complete.
    async fn next_batch(
        &self,
        services: &Services,
        size: usize,
        claims: &mut Claims,
    ) -> Result<Vec<PendingPassage>, StoreError> {
        let model = self.embedder.model();
        let mut batch: Vec<PendingPassage> = Vec::new();
        let mut index = 0;
        while let Some(job) = claims.open.get(index).copied().filter(|_| batch.len() < size) {
            let remaining = size - batch.len();
            let list = async |conn: Conn<'_>| {
                passage_vectors::list_unembedded(conn, job.workspace, job.document, model, remaining).await
            };
            let passages = services.db.read(Tenant::Process, list).await?;
            if passages.is_empty() {
                claims.open.remove(index);
                self.release(services, job, true).await?;
            } else {
                batch.extend(passages.iter().map(|passage| PendingPassage::new(job, passage)));
                index += 1;
            }
        }
        Ok(batch)
    }

    /// Stores the vectors of a batch.
    async fn store_vectors(
        &self,
        services: &Services,
        mut rows: Vec<(EmbeddingJob, PassageEmbedding)>,
    ) -> Result<(), StoreError> {
        let model = self.embedder.model();
        // The same order in all processes, because the writes lock the knowledge bases.
        rows.sort_by_key(|(job, row)| (job.workspace, job.base, job.document, row.number));
        let refused = rows.iter().filter(|(_, row)| row.vector.is_none()).count();
        let embedded = rows.len() - refused;
        let mut by_document: Vec<(EmbeddingJob, Vec<PassageEmbedding>)> = Vec::new();
        for (job, row) in rows {
            match by_document.last_mut().filter(|(last, _)| *last == job) {
                Some((_, of_document)) => of_document.push(row),
                None => by_document.push((job, vec![row])),
            }
        }
        let write = async |mut conn: Conn<'_>| {
            for (job, rows) in &by_document {
                passage_vectors::put(conn.reborrow(), job.workspace, job.base, model, rows).await?;
                embedding_jobs::recount(conn.reborrow(), *job, model).await?;
            }
            Ok(())
        };
        services.db.write(Tenant::Process, write).await?;
        for (outcome, count) in [("ok", embedded), ("refused", refused)] {
            metrics::counter!(PASSAGES_EMBEDDED, "outcome" => outcome)
                .increment(u64::try_from(count).unwrap_or_default());
        }
        Ok(())
    }
}
