//! Embeds search queries with a short timeout.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::vector::Vector;
use crate::model::embeddings::{Embedder, EmbeddingsError};
use crate::telemetry::EMBEDDINGS_CALL_DURATION_SECONDS;

/// Longer queries are truncated, because models limit the length of a text.
const MAX_QUERY_CHARS: usize = 2000;
/// The time without requests after a timeout, so that not every search waits for a hung endpoint.
const COOLDOWN: Duration = Duration::from_secs(10);

/// Embeds queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryEmbedder {
    embedder: Embedder,
    timeout: Duration,
    cooldown_until: Arc<Mutex<Option<Instant>>>,
}

impl QueryEmbedder {
    /// `timeout` applies to each query.
    #[must_use]
    pub fn new(embedder: Embedder, timeout: Duration) -> Self {
        Self { embedder, timeout, cooldown_until: Arc::default() }
    }

    /// The name of the model.
    #[must_use]
    pub fn model(&self) -> &str {
        self.embedder.model()
    }

    /// The vector of a query, or `None` on an error or timeout; the search then continues without it.
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
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a query could not be embedded; it is searched by full text alone"
                );
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
