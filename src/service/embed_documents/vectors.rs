//! Requests vectors for texts from an endpoint that may be slow, fail, or refuse single texts.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::super::Services;
use super::claims::Claims;
use super::{BatchState, DocumentEmbedder};
use crate::domain::chat::ModelErrorKind;
use crate::domain::vector::Vector;
use crate::model::embeddings::EmbeddingsError;
use crate::telemetry::EMBEDDINGS_CALL_DURATION_SECONDS;

/// A text that every model accepts. If the endpoint embeds it, the refusal of another text is due to that text.
const PROBE_TEXT: &str = "text";
/// A slower response reduces the batch size, because the same endpoint may embed queries one request at a time.
const SLOW: Duration = Duration::from_secs(2);
/// After [`FAST_RESPONSES_TO_GROW`] responses that are faster than this, the batch size grows.
const FAST: Duration = Duration::from_millis(500);
const FAST_RESPONSES_TO_GROW: u32 = 16;
/// Divisors of the length that are tried for a text that may be too long for the model.
const FRACTIONS: [usize; 3] = [1, 2, 4];

/// The outcome of a batch.
#[derive(Default)]
pub(super) struct BatchResult {
    /// By the index of the text: its vector, or `None` if the model refuses this text.
    pub(super) vectors: Vec<(usize, Option<Vector>)>,
    /// Set if texts are left without a result.
    pub(super) stop: Option<StopReason>,
}

/// The reason for stopping before all texts have a result.
pub(super) enum StopReason {
    Endpoint(EmbeddingsError),
    /// Requests with the text at this index time out, although the endpoint answers others.
    Timeout(usize),
}

impl DocumentEmbedder {
    /// The vectors of a batch. A text that may have caused an error is found by bisection.
    pub(super) async fn embed_texts(
        &self,
        services: &Services,
        texts: &[&str],
        state: &mut BatchState,
        claims: &mut Claims,
    ) -> BatchResult {
        let mut result = BatchResult::default();
        // A stack: the last range is next.
        let mut open: Vec<Range<usize>> = Vec::from([Range { start: 0, end: texts.len() }]);
        while let Some(range) = open.pop() {
            self.renew(services, claims).await;
            let part = texts.get(range.clone()).unwrap_or_default();
            let begun = Instant::now();
            match self.call(part).await {
                Ok(vectors) => {
                    state.record_latency(part.len(), begun.elapsed(), self.batch);
                    result.vectors.extend(range.zip(vectors.into_iter().map(Some)));
                }
                Err(error) => {
                    if let Err(stop) =
                        self.handle_error(error, range, part, state, &mut open, &mut result).await
                    {
                        result.stop = Some(stop);
                        break;
                    }
                }
            }
        }
        result
    }

    /// Handles a failed request: splits the range, records a refused text, or returns the reason to stop.
    async fn handle_error(
        &self,
        error: EmbeddingsError,
        range: Range<usize>,
        part: &[&str],
        state: &mut BatchState,
        open: &mut Vec<Range<usize>>,
        result: &mut BatchResult,
    ) -> Result<(), StopReason> {
        let is_silent = error.is_timeout();
        if is_silent {
            state.halve(part.len());
        }
        // Before the first success, a probe shows whether the endpoint itself fails.
        let is_first = open.is_empty() && result.vectors.is_empty();
        let [text] = part else {
            if is_silent || !may_be_caused_by_a_text(&error) {
                return Err(StopReason::Endpoint(error));
            }
            if is_first {
                self.probe_endpoint(error).await?;
            }
            let middle = range.start + part.len() / 2;
            open.push(middle..range.end);
            open.push(range.start..middle);
            return Ok(());
        };
        let index = range.start;
        if is_silent {
            self.probe_endpoint(error).await?;
            return Err(StopReason::Timeout(index));
        }
        if !may_be_caused_by_a_text(&error) {
            return Err(StopReason::Endpoint(error));
        }
        if is_first {
            self.probe_endpoint(error.clone()).await?;
        }
        let vector = self.embed_truncated(text, index, error).await?;
        result.vectors.push((index, vector));
        Ok(())
    }

    /// The vector of the longest part that the model accepts of a text that it refused; `None` if it accepts none.
    async fn embed_truncated(
        &self,
        text: &str,
        index: usize,
        refusal: EmbeddingsError,
    ) -> Result<Option<Vector>, StopReason> {
        let characters = text.chars().count();
        for part in FRACTIONS {
            let end = text.char_indices().nth(characters.div_ceil(part)).map_or(text.len(), |(at, _)| at);
            match self.call(&[text.get(..end).unwrap_or(text)]).await {
                Ok(vectors) => return Ok(vectors.into_iter().next()),
                Err(error) if may_be_caused_by_a_text(&error) => {}
                Err(error) if error.is_timeout() => {
                    self.probe_endpoint(error).await?;
                    return Err(StopReason::Timeout(index));
                }
                Err(error) => return Err(StopReason::Endpoint(error)),
            }
        }
        // `None` is stored permanently, so make sure that the endpoint has not failed in the meantime.
        let reason = refusal.to_string();
        self.probe_endpoint(refusal).await?;
        tracing::warn!(
            error = reason,
            characters,
            "a passage cannot be embedded; it is found by full text only"
        );
        Ok(None)
    }

    /// Fails with `error` if the endpoint does not embed [`PROBE_TEXT`] either, so that the text is not the cause.
    async fn probe_endpoint(&self, error: EmbeddingsError) -> Result<(), StopReason> {
        self.call(&[PROBE_TEXT]).await.map(drop).map_err(|_| StopReason::Endpoint(error))
    }

    async fn call(&self, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingsError> {
        let begun = Instant::now();
        let answer = self.embedder.embed(texts, self.timeout).await;
        let outcome = answer.as_ref().map_or_else(EmbeddingsError::as_str, |_| "ok");
        metrics::histogram!(EMBEDDINGS_CALL_DURATION_SECONDS, "purpose" => "passages", "outcome" => outcome)
            .record(begun.elapsed().as_secs_f64());
        answer
    }
}

/// Whether a single text may have caused the error. Some endpoints respond with status 500 to a text that is too long.
fn may_be_caused_by_a_text(error: &EmbeddingsError) -> bool {
    match error {
        EmbeddingsError::Call(error) => match error.kind {
            ModelErrorKind::Timeout
            | ModelErrorKind::TooSlow
            | ModelErrorKind::RateLimited { .. }
            | ModelErrorKind::LateThoughts => false,
            ModelErrorKind::Refused
            | ModelErrorKind::Withheld
            | ModelErrorKind::Unavailable
            | ModelErrorKind::Unreadable => true,
        },
        EmbeddingsError::Malformed
        | EmbeddingsError::CountMismatch { .. }
        | EmbeddingsError::DimensionMismatch
        | EmbeddingsError::NotFinite => true,
    }
}

impl BatchState {
    /// Adapts the batch size to the latency of a request with `texts` texts.
    fn record_latency(&mut self, texts: usize, latency: Duration, max_size: usize) {
        if latency > SLOW {
            self.halve(texts);
        } else if latency < FAST && self.size < max_size {
            self.fast_responses += 1;
        }
        if self.fast_responses >= FAST_RESPONSES_TO_GROW {
            (self.size, self.fast_responses) = ((self.size * 2).min(max_size), 0);
        }
    }

    fn halve(&mut self, texts: usize) {
        (self.size, self.fast_responses) = ((texts / 2).max(1), 0);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::WorkspaceId;

    #[test]
    fn the_batch_size_shrinks_with_slow_responses_and_grows_after_several_fast_ones() {
        let mut state = BatchState { last_workspace: WorkspaceId(Uuid::nil()), size: 64, fast_responses: 0 };

        state.record_latency(64, Duration::from_secs(3), 64);
        assert_eq!(state.size, 32);
        state.record_latency(3, Duration::from_secs(3), 64);
        assert_eq!(state.size, 1);
        state.halve(1);
        assert_eq!(state.size, 1);
        for _ in 0..FAST_RESPONSES_TO_GROW {
            assert_eq!(state.size, 1);
            state.record_latency(1, Duration::from_millis(10), 64);
        }
        assert_eq!(state.size, 2);
        for _ in 0..FAST_RESPONSES_TO_GROW * 9 {
            state.record_latency(2, Duration::from_millis(10), 64);
        }
        assert_eq!(state.size, 64, "the maximum");
    }
}
