//! Finds passages by full text, by vectors, or by both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::QueryEmbedder;
use crate::domain::ids::{KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{
    Candidate, Corpus, Hit, KnowledgeBase, SearchMode, candidate_queries, query_terms, rank,
};
use crate::domain::rank_fusion::reciprocal_rank_fusion;
use crate::domain::vector::Vector;
use crate::fair_semaphore::{FairSemaphore, Shares};
use crate::store::knowledge::passage_vectors::NearestPassages;
use crate::store::knowledge::{passage_vectors, passages};
use crate::store::{Conn, Db, StoreError};

/// Number of passages of each ranking that are fused.
const RANKING_DEPTH: usize = 100;
/// Maximum number of concurrent vector scans in this process, so that they do not occupy all read connections.
const MAX_CONCURRENT_SCANS: usize = 2;
/// Maximum time that a search waits for a scan permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of attempts if documents change during a search.
const MAX_ATTEMPTS: usize = 3;
/// Deadline of the vector part of a search, from its start.
const VECTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for which a knowledge base is searched by full text alone after a scan has timed out.
const SCAN_COOLDOWN: Duration = Duration::from_mins(1);

/// Searches knowledge bases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Searcher {
    db: Db,
    /// `None` if no embeddings endpoint is configured.
    embedder: Option<QueryEmbedder>,
    scan_permits: FairSemaphore<WorkspaceId>,
    /// The end of the cooldown of each knowledge base whose scan has timed out.
    cooldowns: Arc<Mutex<HashMap<KnowledgeBaseId, Instant>>>,
}

impl Searcher {
    #[must_use]
    pub fn new(db: Db, embedder: Option<QueryEmbedder>) -> Self {
        Self {
            db,
            embedder,
            scan_permits: FairSemaphore::new(Shares::half_of(MAX_CONCURRENT_SCANS)),
            cooldowns: Arc::default(),
        }
    }

    /// The embeddings model, or `None` if none is configured.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.embedder.as_ref().map(QueryEmbedder::model)
    }

    /// The best `limit` passages of a knowledge base for a query, best first. Empty if nothing matches.
    ///
    /// # Errors
    /// If the full-text search fails. If only the vector search fails, the full-text results are returned.
    pub async fn find(
        &self,
        base: &KnowledgeBase,
        query: &str,
        limit: usize,
        by: SearchMode,
    ) -> Result<Vec<Hit>, StoreError> {
        let deadline = Instant::now() + VECTOR_TIMEOUT;
        let has_words = by != SearchMode::Vectors;
        let has_vectors = by != SearchMode::Words && !self.is_cooling_down(base.id);
        let words = async { if has_words { self.search_text(base, query).await } else { Ok(Vec::new()) } };
        let vector = async { if has_vectors { self.query_vector(query).await } else { None } };
        let (text_hits, vector) = tokio::join!(words, vector);
        let mut text_hits = text_hits?;
        if let Some(vector) = vector {
            match timeout_at(
                deadline,
                self.search_hybrid(base, query, &text_hits, &vector, (limit, has_words)),
            )
            .await
            {
                Ok(Ok(Some(hits))) => return Ok(hits),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a vector search failed; the query is searched by full text alone");
                }
                Err(_) => {
                    self.start_cooldown(base.id);
                    tracing::warn!("a vector search timed out; the query is searched by full text alone");
                }
            }
        }
        text_hits.truncate(limit);
        Ok(text_hits)
    }

    /// `None` if documents have changed during each attempt.
    async fn search_hybrid(
        &self,
        base: &KnowledgeBase,
        query: &str,
        text_hits: &[Hit],
        vector: &Vector,
        (limit, has_words): (usize, bool),
    ) -> Result<Option<Vec<Hit>>, StoreError> {
        let mut found = self.fuse_rankings(base, text_hits, vector, limit).await?;
        for _ in 1..MAX_ATTEMPTS {
            if found.is_some() {
                break;
            }
            // A document was replaced between two reads, so search again.
            let text_hits = if has_words { self.search_text(base, query).await? } else { Vec::new() };
            found = self.fuse_rankings(base, &text_hits, vector, limit).await?;
        }
        Ok(found)
    }

    fn is_cooling_down(&self, base: KnowledgeBaseId) -> bool {
        let cooldowns = self.cooldowns.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns.get(&base).is_some_and(|until| Instant::now() < *until)
    }

    fn start_cooldown(&self, base: KnowledgeBaseId) {
        let now = Instant::now();
        let mut cooldowns = self.cooldowns.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns.retain(|_, until| now < *until);
        cooldowns.insert(base, now + SCAN_COOLDOWN);
    }

    async fn search_text(&self, base: &KnowledgeBase, query: &str) -> Result<Vec<Hit>, StoreError> {
        let terms = query_terms(query, base.language);
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let read = async |mut conn: Conn<'_>| {
            let terms = passages::frequencies(conn.reborrow(), base.workspace, base.id, &terms).await?;
            let found =
                passages::candidates(conn, base.workspace, base.id, &candidate_queries(terms.clone()))
                    .await?;
            Ok((terms, found))
        };
        let (terms, found) = self.db.snapshot(base.workspace, read).await?;
        let corpus = Corpus { passages: base.passages, words: base.words, terms };
        Ok(rank(found, &corpus, RANKING_DEPTH))
    }

    async fn query_vector(&self, query: &str) -> Option<Vector> {
        let embedder = self.embedder.as_ref().filter(|_| !query.trim().is_empty())?;
        embedder.embed(query).await
    }

    /// `None` if the vectors cannot be read at the moment.
    async fn nearest(
        &self,
        base: &KnowledgeBase,
        vector: &Vector,
        text_matches: &[i64],
    ) -> Option<NearestPassages> {
        let model = self.model()?;
        let acquired = self.scan_permits.acquire_within(base.workspace, 1, PERMIT_TIMEOUT).await;
        let Some(_permit) = acquired else {
            tracing::warn!("too many concurrent vector searches; the query is searched by full text alone");
            return None;
        };
        let scope = (base.workspace, base.id);
        let scan = async |conn: Conn<'_>| {
            passage_vectors::nearest(conn, scope, (model, vector), RANKING_DEPTH, text_matches).await
        };
        match self.db.read(base.workspace, scan).await {
            Ok(near) => Some(near),
            Err(error) => {
                if matches!(error, StoreError::TimedOut) {
                    self.start_cooldown(base.id);
                }
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "vectors could not be read; the query is searched by full text alone"
                );
                None
            }
        }
    }

    /// Fuses the full-text and vector rankings and reads the passages in one statement. `None` if one of them no longer
    /// exists.
    async fn fuse_rankings(
        &self,
        base: &KnowledgeBase,
        text_hits: &[Hit],
        vector: &Vector,
        limit: usize,
    ) -> Result<Option<Vec<Hit>>, StoreError> {
        let words: Vec<i64> = text_hits.iter().map(|hit| hit.passage.number).collect();
        let Some(near) = self.nearest(base, vector, &words).await else {
            return Ok(Some(text_hits.iter().take(limit).cloned().collect()));
        };
        let vector_ranking: Vec<i64> = near.ranked.iter().map(|(number, _)| *number).collect();
        let mut best = reciprocal_rank_fusion(&words, &vector_ranking, |number| {
            near.embedded.binary_search(number).is_ok()
        });
        best.truncate(limit);

        let numbers: Vec<i64> = best.iter().map(|(number, _)| *number).collect();
        let read =
            async |conn: Conn<'_>| passages::find_by_numbers(conn, base.workspace, base.id, &numbers).await;
        let found = self.db.read(base.workspace, read).await?;
        let mut found: HashMap<i64, Candidate> =
            found.into_iter().map(|passage| (passage.number, passage)).collect();
        let hit = |(number, score)| Some(Hit { passage: found.remove(&number)?, score });
        Ok(best.into_iter().map(hit).collect())
    }
}
