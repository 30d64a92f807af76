//! From texts to vectors, where the endpoint may be slow, ill, or refuse a single text.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::super::Services;
use super::claims::Claims;
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

/// What became of a batch.
#[derive(Default)]
pub(super) struct Given {
    /// By the place of the text: its vector, or None where the model refuses that text alone.
    pub(super) made: Vec<(usize, Option<Vector>)>,
    /// Why it is not of all texts.
    pub(super) stop: Option<Stop>,
}

/// Why there are no more vectors for now.
pub(super) enum Stop {
    Endpoint(EmbeddingsError),
    /// The endpoint is silent for the text at this place, and answers another.
    Silence(usize),
}

impl Embeddings {
    /// The vectors of a batch's texts. Where one of them may be at fault, it is found by halves.
    pub(super) async fn vectors(
        &self,
        services: &Services,
        texts: &[&str],
        course: &mut Course,
        claims: &mut Claims,
    ) -> Given {
        let mut given = Given::default();
        // From the back.
        let mut open: Vec<Range<usize>> = Vec::from([Range { start: 0, end: texts.len() }]);
        while let Some(range) = open.pop() {
            self.renew(services, claims).await;
            let part = texts.get(range.clone()).unwrap_or_default();
            let begun = Instant::now();
            match self.call(part).await {
                Ok(vectors) => {
                    course.answered(part.len(), begun.elapsed(), self.batch);
                    given.made.extend(range.zip(vectors.into_iter().map(Some)));
                }
                Err(error) => {
                    if let Err(stop) = self.after(error, range, part, course, &mut open, &mut given).await {
                        given.stop = Some(stop);
                        break;
                    }
                }
            }
        }
        given
    }

    /// What a failed request means: for `open`, for `given`, or for all that is left.
    async fn after(
        &self,
        error: EmbeddingsError,
        range: Range<usize>,
        part: &[&str],
        course: &mut Course,
        open: &mut Vec<Range<usize>>,
        given: &mut Given,
    ) -> Result<(), Stop> {
        let is_silent = error == EmbeddingsError::Call(ModelError::Timeout);
        if is_silent {
            course.halve(part.len());
        }
        // An endpoint that is ill refuses a plain text, too.
        let is_first = open.is_empty() && given.made.is_empty();
        let [text] = part else {
            if is_silent || !may_be_of_a_text(&error) {
                return Err(Stop::Endpoint(error));
            }
            if is_first {
                self.try_plain(error).await?;
            }
            let middle = range.start + part.len() / 2;
            open.push(middle..range.end);
            open.push(range.start..middle);
            return Ok(());
        };
        let place = range.start;
        if is_silent {
            self.try_plain(error).await?;
            return Err(Stop::Silence(place));
        }
        if !may_be_of_a_text(&error) {
            return Err(Stop::Endpoint(error));
        }
        if is_first {
            self.try_plain(error.clone()).await?;
        }
        let vector = self.in_part(text, place, error).await?;
        given.made.push((place, vector));
        Ok(())
    }

    /// The vector of as much of a text as the model takes, where it refused the whole.
    async fn in_part(
        &self,
        text: &str,
        place: usize,
        refusal: EmbeddingsError,
    ) -> Result<Option<Vector>, Stop> {
        let characters = text.chars().count();
        for part in PARTS {
            let end = text.char_indices().nth(characters.div_ceil(part)).map_or(text.len(), |(at, _)| at);
            match self.call(&[text.get(..end).unwrap_or(text)]).await {
                Ok(vectors) => return Ok(vectors.into_iter().next()),
                Err(error) if may_be_of_a_text(&error) => {}
                Err(error @ EmbeddingsError::Call(ModelError::Timeout)) => {
                    self.try_plain(error).await?;
                    return Err(Stop::Silence(place));
                }
                Err(error) => return Err(Stop::Endpoint(error)),
            }
        }
        // What is written now is for good: the endpoint may have fallen ill since.
        let said = refusal.to_string();
        self.try_plain(refusal).await?;
        tracing::warn!(
            error = said,
            characters,
            "a passage cannot be embedded; it is found by its words alone"
        );
        Ok(None)
    }

    /// Whether the endpoint answers at all; else it is its fault.
    async fn try_plain(&self, error: EmbeddingsError) -> Result<(), Stop> {
        self.call(&[PLAIN]).await.map(drop).map_err(|_| Stop::Endpoint(error))
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
