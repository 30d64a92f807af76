//! From texts to vectors, where the endpoint may be slow, ill, or refuse a single text.

use std::time::{Duration, Instant};

use super::{Course, Embeddings};
use crate::domain::chat::ModelError;
use crate::domain::vector::Vector;
use crate::model::embeddings::EmbeddingsError;
use crate::telemetry::EMBEDDINGS_CALL_SECONDS;

/// A text that each model embeds: what is refused beside it is refused for its own sake.
const PLAIN: &str = "text";
/// An endpoint that takes longer for a request is sent less: it may be what embeds queries, too, one after the other.
const LONG: Duration = Duration::from_secs(2);
/// One that takes less than this so many times is sent more.
const SOON: Duration = Duration::from_millis(500);
const PATIENCE: u32 = 16;
/// Which part of a text is tried where more of it is too long for the model: one n-th.
const PARTS: [usize; 3] = [1, 2, 4];

impl Embeddings {
    /// A vector for each text, or None where the model refuses that text alone.
    pub(super) async fn vectors(
        &self,
        texts: &[String],
        course: &mut Course,
    ) -> Result<Vec<Option<Vector>>, EmbeddingsError> {
        let begun = Instant::now();
        let whole: Vec<&str> = texts.iter().map(String::as_str).collect();
        match self.call(&whole).await {
            Ok(vectors) => {
                course.answered(texts.len(), begun.elapsed(), self.batch);
                Ok(vectors.into_iter().map(Some).collect())
            }
            Err(error @ EmbeddingsError::Call(ModelError::Timeout)) => {
                course.halve(texts.len());
                Err(error)
            }
            Err(error) if may_be_of_a_text(&error) => {
                // An endpoint that is ill refuses this one, too.
                self.call(&[PLAIN]).await.map_err(|_| error)?;
                self.one_by_one(texts).await
            }
            Err(error) => Err(error),
        }
    }

    async fn one_by_one(&self, texts: &[String]) -> Result<Vec<Option<Vector>>, EmbeddingsError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(self.in_part(text).await?);
        }
        Ok(vectors)
    }

    /// The vector of as much of a text as the model takes.
    async fn in_part(&self, text: &str) -> Result<Option<Vector>, EmbeddingsError> {
        let characters = text.chars().count();
        let mut refusal = None;
        for part in PARTS {
            let end = text.char_indices().nth(characters.div_ceil(part)).map_or(text.len(), |(at, _)| at);
            match self.call(&[text.get(..end).unwrap_or(text)]).await {
                Ok(vectors) => return Ok(vectors.into_iter().next()),
                Err(error) if may_be_of_a_text(&error) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        let error = refusal.as_ref().map(ToString::to_string);
        tracing::warn!(error, characters, "a passage cannot be embedded; it is found by its words alone");
        Ok(None)
    }

    async fn call(&self, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingsError> {
        let begun = Instant::now();
        let answer = self.embedder.embed(texts, self.timeout).await;
        let outcome = answer.as_ref().map_or_else(EmbeddingsError::as_str, |_| "ok");
        metrics::histogram!(EMBEDDINGS_CALL_SECONDS, "purpose" => "passages", "outcome" => outcome)
            .record(begun.elapsed().as_secs_f64());
        answer
    }
}

/// Whether one text among several may be at fault: some endpoints answer a text that is too long with a 500.
fn may_be_of_a_text(error: &EmbeddingsError) -> bool {
    match error {
        EmbeddingsError::Call(ModelError::Timeout | ModelError::RateLimited { .. }) => false,
        EmbeddingsError::Call(ModelError::Refused | ModelError::Unavailable | ModelError::Unreadable)
        | EmbeddingsError::NoList
        | EmbeddingsError::Count { .. }
        | EmbeddingsError::Lengths
        | EmbeddingsError::NotFinite => true,
    }
}

impl Course {
    /// Notes how long so many texts took.
    fn answered(&mut self, texts: usize, took: Duration, most: usize) {
        if took > LONG {
            self.halve(texts);
        } else if took < SOON && self.size < most {
            self.answered += 1;
        }
        if self.answered >= PATIENCE {
            (self.size, self.answered) = ((self.size * 2).min(most), 0);
        }
    }

    fn halve(&mut self, texts: usize) {
        (self.size, self.answered) = ((texts / 2).max(1), 0);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::WorkspaceId;

    #[test]
    fn a_slow_endpoint_is_sent_less_and_a_quick_one_more_after_a_while() {
        let mut course = Course { after: WorkspaceId(Uuid::nil()), size: 64, answered: 0 };

        course.answered(64, Duration::from_secs(3), 64);
        assert_eq!(course.size, 32);
        course.answered(3, Duration::from_secs(3), 64);
        assert_eq!(course.size, 1);
        course.halve(1);
        assert_eq!(course.size, 1);
        for _ in 0..PATIENCE {
            assert_eq!(course.size, 1);
            course.answered(1, Duration::from_millis(10), 64);
        }
        assert_eq!(course.size, 2);
        for _ in 0..PATIENCE * 9 {
            course.answered(2, Duration::from_millis(10), 64);
        }
        assert_eq!(course.size, 64, "and no more than it may be");
    }
}
