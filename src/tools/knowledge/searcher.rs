//! Finds passages: by words, by vectors where there are some, and by both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::QueryEmbedder;
use crate::domain::ids::KnowledgeBaseId;
use crate::domain::knowledge::{
    Candidate, Corpus, Hit, KnowledgeBase, SearchMode, candidate_queries, query_terms, rank,
};
use crate::domain::rank_fusion::reciprocal_rank_fusion;
use crate::domain::vector::Vector;
use crate::store::knowledge::passage_vectors::NearestPassages;
use crate::store::knowledge::{passage_vectors, passages};
use crate::store::{Conn, Db, StoreError};

/// How many passages of each ranking are fused.
const RANKING_DEPTH: usize = 100;
/// How many searches of this process read vectors at once: they must not hold all connections that turns read with.
const MAX_CONCURRENT_SCANS: usize = 2;
/// How long a search waits for its place among them.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a search begins anew where documents change meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// How long a search takes at most for what vectors add to it, from its beginning.
const VECTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a base whose vectors could not be read in time is searched by words alone.
const SCAN_COOLDOWN: Duration = Duration::from_mins(1);

/// What searches knowledge bases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Searcher {
    db: Db,
    /// None where no endpoint is configured.
    embedder: Option<QueryEmbedder>,
    scan_permits: Arc<Semaphore>,
    /// The bases whose vectors could not be read in time, and until when they are not read again.
    cooldowns: Arc<Mutex<HashMap<KnowledgeBaseId, Instant>>>,
}

impl Searcher {
    #[must_use]
    pub fn new(db: Db, embedder: Option<QueryEmbedder>) -> Self {
        Self {
            db,
            embedder,
            scan_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_SCANS)),
            cooldowns: Arc::default(),
        }
    }

    /// The model whose vectors are searched; None where words are all there is.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.embedder.as_ref().map(QueryEmbedder::model)
    }

    /// The best `limit` passages of a base for a query, the best first; empty where nothing fits.
    ///
    /// # Errors
    /// Where the words could not be searched. Where the vectors could not, the words count alone.
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
                    tracing::warn!(error, "a query goes by its words alone");
                }
                Err(_) => {
                    self.start_cooldown(base.id);
                    tracing::warn!("a search took too long; it goes by its words alone");
                }
            }
        }
        text_hits.truncate(limit);
        Ok(text_hits)
    }

    /// None where documents change all the while.
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
            // A document was replaced between two looks: it is found as it is now.
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
        let (terms, found) = self.db.snapshot(read).await?;
        let corpus = Corpus { passages: base.passages, words: base.words, terms };
        Ok(rank(found, &corpus, RANKING_DEPTH))
    }

    async fn query_vector(&self, query: &str) -> Option<Vector> {
        let embedder = self.embedder.as_ref().filter(|_| !query.trim().is_empty())?;
        embedder.embed(query).await
    }

    /// None where the vectors cannot be read now.
    async fn nearest(
        &self,
        base: &KnowledgeBase,
        vector: &Vector,
        text_matches: &[i64],
    ) -> Option<NearestPassages> {
        let model = self.model()?;
        let Ok(Ok(_permit)) = timeout(PERMIT_TIMEOUT, self.scan_permits.acquire()).await else {
            tracing::warn!("too many searches read vectors; a query goes by its words alone");
            return None;
        };
        let scope = (base.workspace, base.id);
        let scan = async |conn: Conn<'_>| {
            passage_vectors::nearest(conn, scope, (model, vector), RANKING_DEPTH, text_matches).await
        };
        match self.db.read(scan).await {
            Ok(near) => Some(near),
            Err(error) => {
                if matches!(error, StoreError::TimedOut) {
                    self.start_cooldown(base.id);
                }
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "vectors could not be read; a query goes by its words alone"
                );
                None
            }
        }
    }

    /// Words and vectors fused, every passage as it is at one moment; None where one of them is there no more.
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
        let found = self.db.read(read).await?;
        let mut found: HashMap<i64, Candidate> =
            found.into_iter().map(|passage| (passage.number, passage)).collect();
        let hit = |(number, score)| Some(Hit { passage: found.remove(&number)?, score });
        Ok(best.into_iter().map(hit).collect())
    }
}
