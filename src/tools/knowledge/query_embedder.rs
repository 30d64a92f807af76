//! Embeds what is searched for, soon or not at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::vector::Vector;
use crate::model::embeddings::{Embedder, EmbeddingsError};
use crate::telemetry::EMBEDDINGS_CALL_DURATION_SECONDS;

/// A query's first characters say what it is about; a model takes no endless text.
const MAX_QUERY_CHARS: usize = 2000;
/// How long an endpoint that was silent is not asked again: else each search would wait for it in vain.
const COOLDOWN: Duration = Duration::from_secs(10);

/// What embeds queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryEmbedder {
    embedder: Embedder,
    timeout: Duration,
    cooldown_until: Arc<Mutex<Option<Instant>>>,
}

impl QueryEmbedder {
    /// `timeout` is for one query.
    #[must_use]
    pub fn new(embedder: Embedder, timeout: Duration) -> Self {
        Self { embedder, timeout, cooldown_until: Arc::default() }
    }

    /// The model that its vectors are of.
    #[must_use]
    pub fn model(&self) -> &str {
        self.embedder.model()
    }

    /// The vector of a query; None where there is none in time: a search goes on without it.
    pub(super) async fn embed(&self, query: &str) -> Option<Vector> {
        let started = Instant::now();
        if self.cooldown_until().is_some_and(|until| started < until) {
            return None;
        }
        let end = query.char_indices().nth(MAX_QUERY_CHARS).map_or(query.len(), |(at, _)| at);
        let result = self.embedder.embed(&[query.get(..end).unwrap_or(query)], self.timeout).await;
        let outcome = result.as_ref().map_or_else(EmbeddingsError::as_str, |_| "ok");
        metrics::histogram!(EMBEDDINGS_CALL_DURATION_SECONDS, "purpose" => "query", "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
        match result {
            Ok(vectors) => vectors.into_iter().next(),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a query goes by its words alone");
                if error.is_timeout() {
                    *self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Instant::now() + COOLDOWN);
                }
                None
            }
        }
    }

    fn cooldown_until(&self) -> Option<Instant> {
        *self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
