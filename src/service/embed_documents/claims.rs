//! Claims of documents, so that each process embeds different ones. Each claim is a transaction of its own, because
//! transactions that lock several rows could deadlock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::Services;
use super::{BatchState, DocumentEmbedder};
use crate::store::knowledge::embedding_jobs;
use crate::store::knowledge::embedding_jobs::EmbeddingJob;
use crate::store::{Conn, StoreError, Tenant};

/// Maximum number of documents claimed in one round.
const CLAIM_BATCH: i64 = 16;
/// The time that a claim is valid in addition to two requests.
const MARGIN: Duration = Duration::from_secs(30);
/// The delays before a document is tried again after the first and later timeouts of one of its texts.
const BACKOFF: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_mins(10), Duration::from_hours(1), Duration::from_hours(6)];

/// The claimed documents that are not finished.
pub(super) struct Claims {
    pub(super) open: VecDeque<EmbeddingJob>,
    renewed_at: Instant,
}

impl DocumentEmbedder {
    pub(super) async fn claim(
        &self,
        services: &Services,
        state: &mut BatchState,
    ) -> Result<Claims, StoreError> {
        let (model, clock, after) = (self.embedder.model(), services.clock.as_ref(), state.last_workspace);
        let next =
            async |conn: Conn<'_>| embedding_jobs::list_due(conn, model, after, CLAIM_BATCH, clock).await;
        let found = services.db.read(Tenant::Process, next).await?;
        if let Some(last) = found.last() {
            state.last_workspace = last.workspace;
        }
        let mut claims = Claims { open: VecDeque::new(), renewed_at: Instant::now() };
        for job in found {
            let ttl = self.claim_ttl();
            let claim = async |conn: Conn<'_>| embedding_jobs::claim(conn, job, model, ttl, clock).await;
            if services.db.write(Tenant::Process, claim).await? {
                claims.open.push_back(job);
            }
        }
        Ok(claims)
    }

    /// Called before each request: renews the claims if the last renewal is old.
    pub(super) async fn renew(&self, services: &Services, claims: &mut Claims) {
        let (model, clock, ttl) = (self.embedder.model(), services.clock.as_ref(), self.claim_ttl());
        if claims.renewed_at.elapsed() < ttl / 4 {
            return;
        }
        claims.renewed_at = Instant::now();
        for job in claims.open.iter().copied() {
            let renew = async |conn: Conn<'_>| embedding_jobs::renew(conn, job, model, ttl, clock).await;
            if let Err(error) = services.db.write(Tenant::Process, renew).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "a claim could not be renewed; another process may embed the document, too"
                );
            }
        }
    }

    pub(super) async fn release(
        &self,
        services: &Services,
        job: EmbeddingJob,
        is_finished: bool,
    ) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        let release =
            async |conn: Conn<'_>| embedding_jobs::release(conn, job, model, is_finished, clock).await;
        services.db.write(Tenant::Process, release).await
    }

    /// Postpones a document because requests with one of its texts time out.
    pub(super) async fn snooze(
        &self,
        services: &Services,
        job: EmbeddingJob,
        claims: &mut Claims,
    ) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        tracing::warn!(
            document.id = %job.document,
            "embedding a passage timed out; its document is found by full text only until the next attempt"
        );
        let snooze = async |conn: Conn<'_>| embedding_jobs::snooze(conn, job, model, &BACKOFF, clock).await;
        services.db.write(Tenant::Process, snooze).await?;
        claims.open.retain(|open| *open != job);
        Ok(())
    }

    /// Longer than the time between two renewals, including a request.
    fn claim_ttl(&self) -> Duration {
        self.timeout * 2 + MARGIN
    }
}
