//! Finds passages: by words, by vectors where there are some, and by both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::QueryEmbedder;
use crate::domain::fusion::fuse;
use crate::domain::ids::KnowledgeBaseId;
use crate::domain::knowledge::{Base, Candidate, Corpus, Hit, SearchBy, plan, query_terms, rank};
use crate::domain::vector::Vector;
use crate::store::passage_vectors::Near;
use crate::store::{Conn, Db, StoreError, passage_vectors, passages};

/// How many passages of each ranking are fused.
const DEPTH: usize = 100;
/// How many searches of this process read vectors at once: they must not hold all connections that turns read with.
const SCANS: usize = 2;
/// How long a search waits for its place among them.
const PLACE: Duration = Duration::from_secs(1);
/// How often a search begins anew where documents change meanwhile.
const TRIES: usize = 3;
/// How long a search takes at most for what vectors add to it, from its beginning.
const WHOLE: Duration = Duration::from_secs(5);
/// How long a base whose vectors could not be read in time is searched by words alone.
const SPARED: Duration = Duration::from_mins(1);

/// What searches knowledge bases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Searcher {
    db: Db,
    /// None where no endpoint is configured.
    embedder: Option<QueryEmbedder>,
    scans: Arc<Semaphore>,
    /// The bases whose vectors could not be read in time, and until when they are not read again.
    spared: Arc<Mutex<HashMap<KnowledgeBaseId, Instant>>>,
}

impl Searcher {
    #[must_use]
    pub fn new(db: Db, embedder: Option<QueryEmbedder>) -> Self {
        Self { db, embedder, scans: Arc::new(Semaphore::new(SCANS)), spared: Arc::default() }
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
        base: &Base,
        query: &str,
        limit: usize,
        by: SearchBy,
    ) -> Result<Vec<Hit>, StoreError> {
        let until = Instant::now() + WHOLE;
        let has_words = by != SearchBy::Vectors;
        let has_vectors = by != SearchBy::Words && !self.is_spared(base.id);
        let words = async { if has_words { self.by_words(base, query).await } else { Ok(Vec::new()) } };
        let vector = async { if has_vectors { self.query_vector(query).await } else { None } };
        let (by_words, vector) = tokio::join!(words, vector);
        let mut by_words = by_words?;
        if let Some(vector) = vector {
            match timeout_at(until, self.by_both(base, query, &by_words, &vector, (limit, has_words))).await {
                Ok(Ok(Some(hits))) => return Ok(hits),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a query goes by its words alone");
                }
                Err(_) => {
                    self.spare(base.id);
                    tracing::warn!("a search took too long; it goes by its words alone");
                }
            }
        }
        by_words.truncate(limit);
        Ok(by_words)
    }

    /// None where documents change all the while.
    async fn by_both(
        &self,
        base: &Base,
        query: &str,
        by_words: &[Hit],
        vector: &Vector,
        (limit, has_words): (usize, bool),
    ) -> Result<Option<Vec<Hit>>, StoreError> {
        let mut found = self.fused(base, by_words, vector, limit).await?;
        for _ in 1..TRIES {
            if found.is_some() {
                break;
            }
            // A document was replaced between two looks: it is found as it is now.
            let by_words = if has_words { self.by_words(base, query).await? } else { Vec::new() };
            found = self.fused(base, &by_words, vector, limit).await?;
        }
        Ok(found)
    }

    fn is_spared(&self, base: KnowledgeBaseId) -> bool {
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        spared.get(&base).is_some_and(|until| Instant::now() < *until)
    }

    fn spare(&self, base: KnowledgeBaseId) {
        let now = Instant::now();
        let mut spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        spared.retain(|_, until| now < *until);
        spared.insert(base, now + SPARED);
    }

    async fn by_words(&self, base: &Base, query: &str) -> Result<Vec<Hit>, StoreError> {
        let terms = query_terms(query, base.language);
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let read = async |mut conn: Conn<'_>| {
            let terms = passages::frequencies(conn.reborrow(), base.workspace, base.id, &terms).await?;
            let found = passages::candidates(conn, base.workspace, base.id, &plan(terms.clone())).await?;
            Ok((terms, found))
        };
        let (terms, found) = self.db.snapshot(read).await?;
        let corpus = Corpus { passages: base.passages, words: base.words, terms };
        Ok(rank(found, &corpus, DEPTH))
    }

    async fn query_vector(&self, query: &str) -> Option<Vector> {
        let embedder = self.embedder.as_ref().filter(|_| !query.trim().is_empty())?;
        embedder.embed(query).await
    }

    /// None where the vectors cannot be read now.
    async fn nearest(&self, base: &Base, vector: &Vector, asked: &[i64]) -> Option<Near> {
        let model = self.model()?;
        let Ok(Ok(_held)) = timeout(PLACE, self.scans.acquire()).await else {
            tracing::warn!("too many searches read vectors; a query goes by its words alone");
            return None;
        };
        let place = (base.workspace, base.id);
        let scan =
            async |conn: Conn<'_>| passage_vectors::nearest(conn, place, (model, vector), DEPTH, asked).await;
        match self.db.reading(scan).await {
            Ok(near) => Some(near),
            Err(error) => {
                if matches!(error, StoreError::TimedOut) {
                    self.spare(base.id);
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
    async fn fused(
        &self,
        base: &Base,
        by_words: &[Hit],
        vector: &Vector,
        limit: usize,
    ) -> Result<Option<Vec<Hit>>, StoreError> {
        let words: Vec<i64> = by_words.iter().map(|hit| hit.passage.number).collect();
        let Some(near) = self.nearest(base, vector, &words).await else {
            return Ok(Some(by_words.iter().take(limit).cloned().collect()));
        };
        let by_vectors: Vec<i64> = near.ranked.iter().map(|(number, _)| *number).collect();
        let mut best = fuse(&words, &by_vectors, |number| near.embedded.binary_search(number).is_ok());
        best.truncate(limit);

        let numbers: Vec<i64> = best.iter().map(|(number, _)| *number).collect();
        let read = async |conn: Conn<'_>| passages::numbered(conn, base.workspace, base.id, &numbers).await;
        let found = self.db.reading(read).await?;
        let mut found: HashMap<i64, Candidate> =
            found.into_iter().map(|passage| (passage.number, passage)).collect();
        let hit = |(number, score)| Some(Hit { passage: found.remove(&number)?, score });
        Ok(best.into_iter().map(hit).collect())
    }
}
