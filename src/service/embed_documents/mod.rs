//! Embeds documents: gives the passages that have none a vector of the configured model, a batch of texts at a time, whichever
//! documents they are of.

mod claims;
mod vectors;

use std::time::Duration;

use uuid::Uuid;

use super::Services;
use crate::domain::ids::WorkspaceId;
use crate::domain::knowledge::{embedding_text, text_digest};
use crate::model::embeddings::{Embedder, EmbeddingsError};
use crate::store::embedding_work::Work;
use crate::store::passage_vectors::{Made, Unembedded};
use crate::store::{Conn, StoreError, embedding_models, embedding_work, passage_vectors};
use crate::telemetry::{DOCUMENTS_TO_EMBED, PASSAGES_EMBEDDED};
use claims::Claims;
use vectors::Stop;

/// How long a model's vectors stay once no process uses it: processes of two configurations may take turns, or go back.
pub const RETIRED_KEPT: Duration = Duration::from_hours(24);
/// Documents that are marked in one transaction.
const MARKED: i64 = 500;

/// What embeds documents.
#[derive(Clone, Debug)]
pub struct Embeddings {
    pub embedder: Embedder,
    /// Most texts in one request.
    pub batch: usize,
    /// For one request.
    pub timeout: Duration,
}

/// Where one process stands.
#[derive(Clone, Debug)]
pub struct Course {
    /// Whose documents came last: the next workspace's come next.
    after: WorkspaceId,
    /// How many texts the endpoint is sent at once: fewer, where it could not do it in time.
    size: usize,
    /// How many requests of that size it has answered soon.
    answered: u32,
}

/// Why documents could not be embedded for now.
#[derive(Debug, thiserror::Error)]
pub enum EmbedFault {
    #[error("the embeddings endpoint: {0}")]
    Endpoint(#[from] EmbeddingsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EmbedFault {
    /// How long the endpoint asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Endpoint(error) => error.retry_after(),
            Self::Store(_) => None,
        }
    }
}

/// A passage, the document that it is of, and its text as it is embedded.
struct Asked {
    work: Work,
    number: i64,
    text: String,
}

impl Asked {
    fn new(work: Work, passage: &Unembedded) -> Self {
        let text = embedding_text(&passage.title, &passage.heading, &passage.text);
        Self { work, number: passage.number, text }
    }
}

impl Embeddings {
    /// Where a process begins.
    #[must_use]
    pub fn course(&self) -> Course {
        Course { after: WorkspaceId(Uuid::nil()), size: self.batch, answered: 0 }
    }

    /// Claims documents that are not embedded whole, and embeds them. How many they were; none: there is nothing to do here.
    pub async fn embed_some(&self, services: &Services, course: &mut Course) -> Result<usize, EmbedFault> {
        let mut claims = self.claim(services, course).await?;
        let count = claims.open.len();
        let embedded = self.embed_all(services, course, &mut claims).await;
        // What is left is for whoever comes next, this process too.
        for work in claims.open {
            self.release(services, work, false).await?;
        }
        embedded.map(|()| count)
    }

    /// Notes that this process uses the model, so that what other processes write is marked for it, and its vectors stay.
    pub async fn note_use(&self, services: &Services) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        services.db.writing(async |conn| embedding_models::note_use(conn, model, clock).await).await
    }

    /// Marks every document that has no mark of the model yet.
    pub async fn mark_all(&self, services: &Services) -> Result<(), StoreError> {
        let model = self.embedder.model();
        let mut after = 0;
        loop {
            let mark = async |conn: Conn<'_>| embedding_work::mark_all(conn, model, after, MARKED).await;
            let Some(last) = services.db.writing(mark).await? else { return Ok(()) };
            after = last;
        }
    }

    /// How many documents are not embedded whole, for the metrics.
    pub async fn note_what_is_left(&self, services: &Services) -> Result<(), StoreError> {
        let model = self.embedder.model();
        let left = services.db.reading(async |conn| embedding_work::count(conn, model).await).await?;
        metrics::gauge!(DOCUMENTS_TO_EMBED).set(f64::from(u32::try_from(left).unwrap_or(u32::MAX)));
        Ok(())
    }

    /// Removes what a model that no process has used for `kept` made of one document; whether there was anything.
    pub async fn remove_retired(&self, services: &Services, kept: Duration) -> Result<bool, StoreError> {
        let clock = services.clock.as_ref();
        services.db.writing(async |conn| embedding_models::remove_retired(conn, kept, clock).await).await
    }

    /// Embeds documents, and takes those off that are done, or are not for now.
    async fn embed_all(
        &self,
        services: &Services,
        course: &mut Course,
        claims: &mut Claims,
    ) -> Result<(), EmbedFault> {
        loop {
            let batch = self.gather(services, course.size, claims).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let texts: Vec<&str> = batch.iter().map(|asked| asked.text.as_str()).collect();
            let given = self.vectors(services, &texts, course, claims).await;
            // Whatever stopped it: what was paid for is kept.
            let made = given.made.into_iter().filter_map(|(place, vector)| Some((batch.get(place)?, vector)));
            let made = made.map(|(asked, vector)| {
                (asked.work, Made { number: asked.number, digest: text_digest(&asked.text), vector })
            });
            self.keep(services, made.collect()).await?;
            match given.stop {
                None => {}
                Some(Stop::Endpoint(error)) => return Err(error.into()),
                Some(Stop::Silence(place)) => {
                    if let Some(asked) = batch.get(place) {
                        self.set_back(services, asked.work, claims).await?;
                    }
                }
            }
        }
    }

    /// The next passages, of the foremost documents. What is found to be whole is released.
    async fn gather(
        &self,
        services: &Services,
        size: usize,
        claims: &mut Claims,
    ) -> Result<Vec<Asked>, StoreError> {
        let model = self.embedder.model();
        let mut batch: Vec<Asked> = Vec::new();
        let mut place = 0;
        while let Some(work) = claims.open.get(place).copied().filter(|_| batch.len() < size) {
            let left = size - batch.len();
            let list = async |conn: Conn<'_>| {
                passage_vectors::unembedded(conn, work.workspace, work.document, model, left).await
            };
            let passages = services.db.reading(list).await?;
            if passages.is_empty() {
                claims.open.remove(place);
                self.release(services, work, true).await?;
            } else {
                batch.extend(passages.iter().map(|passage| Asked::new(work, passage)));
                place += 1;
            }
        }
        Ok(batch)
    }

    /// Keeps a batch's vectors.
    async fn keep(&self, services: &Services, mut made: Vec<(Work, Made)>) -> Result<(), StoreError> {
        let model = self.embedder.model();
        // In one order, whichever process: the bases are locked.
        made.sort_by_key(|(work, made)| (work.workspace, work.base, work.document, made.number));
        let refused = made.iter().filter(|(_, made)| made.vector.is_none()).count();
        let embedded = made.len() - refused;
        let mut kept: Vec<(Work, Vec<Made>)> = Vec::new();
        for (work, made) in made {
            match kept.last_mut().filter(|(last, _)| *last == work) {
                Some((_, of_document)) => of_document.push(made),
                None => kept.push((work, vec![made])),
            }
        }
        let write = async |mut conn: Conn<'_>| {
            for (work, made) in &kept {
                passage_vectors::put(conn.reborrow(), work.workspace, work.base, model, made).await?;
                embedding_work::recount(conn.reborrow(), *work, model).await?;
            }
            Ok(())
        };
        services.db.writing(write).await?;
        for (outcome, count) in [("ok", embedded), ("refused", refused)] {
            metrics::counter!(PASSAGES_EMBEDDED, "outcome" => outcome)
                .increment(u64::try_from(count).unwrap_or_default());
        }
        Ok(())
    }
}
