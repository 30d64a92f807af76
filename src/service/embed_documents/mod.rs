//! Embeds documents: gives the passages that have none a vector of the configured model, a batch of texts at a time, whichever
//! documents they are of.

mod vectors;

use std::collections::VecDeque;
use std::time::Duration;

use uuid::Uuid;

use super::Services;
use crate::domain::ids::WorkspaceId;
use crate::domain::vector::Vector;
use crate::model::embeddings::{Embedder, EmbeddingsError};
use crate::store::embedding_work::Work;
use crate::store::passage_vectors::Unembedded;
use crate::store::{Conn, StoreError, embedding_work, passage_vectors};
use crate::telemetry::{DOCUMENTS_TO_EMBED, PASSAGES_EMBEDDED};

/// Documents that are claimed together.
const CLAIMED: i64 = 16;
/// How much longer than a request a claim lasts.
const MARGIN: Duration = Duration::from_secs(30);
/// How long another model's vectors stay once this one has its own: during an upgrade, processes may use either.
pub const RETIRED_KEPT: Duration = Duration::from_hours(1);
/// Documents of one transaction that removes such vectors.
const RETIRED: i64 = 16;

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

/// A passage and the document that it is of.
struct Asked {
    work: Work,
    passage: Unembedded,
}

impl Embeddings {
    /// Where a process begins.
    #[must_use]
    pub fn course(&self) -> Course {
        Course { after: WorkspaceId(Uuid::nil()), size: self.batch, answered: 0 }
    }

    /// Claims documents that are not embedded whole, and embeds them. How many they were; none: there is nothing to do here.
    pub async fn embed_some(&self, services: &Services, course: &mut Course) -> Result<usize, EmbedFault> {
        let claimed = self.claim(services, course).await?;
        let count = claimed.len();
        let mut open = VecDeque::from(claimed);
        let embedded = self.embed_all(services, course, &mut open).await;
        // What is left is for whoever comes next, this process too.
        for work in open {
            self.release(services, work, false).await?;
        }
        embedded.map(|()| count)
    }

    /// How many documents are not embedded whole, for the metrics.
    pub async fn note_what_is_left(&self, services: &Services) -> Result<(), StoreError> {
        let model = self.embedder.model();
        let left = services.db.reading(async |conn| embedding_work::count(conn, model).await).await?;
        metrics::gauge!(DOCUMENTS_TO_EMBED).set(f64::from(u32::try_from(left).unwrap_or(u32::MAX)));
        Ok(())
    }

    /// Removes some of what other models made of documents that this one finished `kept` ago; of how many it was.
    pub async fn remove_retired(&self, services: &Services, kept: Duration) -> Result<usize, StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        let remove =
            async |conn: Conn<'_>| embedding_work::remove_retired(conn, model, kept, RETIRED, clock).await;
        services.db.writing(remove).await
    }

    async fn claim(&self, services: &Services, course: &mut Course) -> Result<Vec<Work>, StoreError> {
        let (model, clock, after) = (self.embedder.model(), services.clock.as_ref(), course.after);
        let next = async |conn: Conn<'_>| embedding_work::next(conn, model, after, CLAIMED, clock).await;
        let mut found = services.db.reading(next).await?;
        let Some(last) = found.last() else { return Ok(found) };
        course.after = last.workspace;
        // In one order, whichever process: their rows are locked.
        found.sort_by_key(|work| (work.workspace, work.document));
        let lasting = self.claim_lasts();
        let claim = async |mut conn: Conn<'_>| {
            let mut claimed = Vec::new();
            for work in &found {
                if embedding_work::claim(conn.reborrow(), *work, model, lasting, clock).await? {
                    claimed.push(*work);
                }
            }
            Ok(claimed)
        };
        services.db.writing(claim).await
    }

    /// Embeds documents, and takes those off that are done.
    async fn embed_all(
        &self,
        services: &Services,
        course: &mut Course,
        open: &mut VecDeque<Work>,
    ) -> Result<(), EmbedFault> {
        loop {
            let batch = self.gather(services, course.size, open).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let texts: Vec<String> = batch.iter().map(|asked| text_of(&asked.passage)).collect();
            let vectors = self.vectors(&texts, course).await?;
            self.keep(services, &batch, vectors, open).await?;
        }
    }

    /// The next passages, of the foremost documents. What is found to be whole is released.
    async fn gather(
        &self,
        services: &Services,
        size: usize,
        open: &mut VecDeque<Work>,
    ) -> Result<Vec<Asked>, StoreError> {
        let model = self.embedder.model();
        let mut batch: Vec<Asked> = Vec::new();
        let mut place = 0;
        while let Some(work) = open.get(place).copied().filter(|_| batch.len() < size) {
            let left = size - batch.len();
            let list = async |conn: Conn<'_>| {
                passage_vectors::unembedded(conn, work.workspace, work.document, model, left).await
            };
            let passages = services.db.reading(list).await?;
            if passages.is_empty() {
                open.remove(place);
                self.release(services, work, true).await?;
            } else {
                batch.extend(passages.into_iter().map(|passage| Asked { work, passage }));
                place += 1;
            }
        }
        Ok(batch)
    }

    /// Keeps a batch's vectors, and all claims.
    async fn keep(
        &self,
        services: &Services,
        batch: &[Asked],
        vectors: Vec<Option<Vector>>,
        open: &VecDeque<Work>,
    ) -> Result<(), StoreError> {
        let (model, clock, lasting) = (self.embedder.model(), services.clock.as_ref(), self.claim_lasts());
        let mut kept: Vec<(Work, Vec<(i64, Option<Vector>)>)> = Vec::new();
        let (mut embedded, mut refused) = (0, 0);
        for (asked, vector) in batch.iter().zip(vectors) {
            *(if vector.is_some() { &mut embedded } else { &mut refused }) += 1;
            match kept.last_mut().filter(|(work, _)| *work == asked.work) {
                Some((_, of_document)) => of_document.push((asked.passage.number, vector)),
                None => kept.push((asked.work, vec![(asked.passage.number, vector)])),
            }
        }
        // In one order, whichever process: the bases are locked.
        kept.sort_by_key(|(work, _)| (work.workspace, work.base));
        let write = async |mut conn: Conn<'_>| {
            for (work, vectors) in &kept {
                passage_vectors::put(conn.reborrow(), work.workspace, work.base, model, vectors).await?;
            }
            for work in open {
                embedding_work::keep(conn.reborrow(), *work, model, lasting, clock).await?;
            }
            Ok(())
        };
        services.db.writing(write).await?;
        metrics::counter!(PASSAGES_EMBEDDED, "outcome" => "ok").increment(embedded);
        metrics::counter!(PASSAGES_EMBEDDED, "outcome" => "refused").increment(refused);
        Ok(())
    }

    async fn release(&self, services: &Services, work: Work, is_finished: bool) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        let release =
            async |conn: Conn<'_>| embedding_work::release(conn, work, model, is_finished, clock).await;
        services.db.writing(release).await
    }

    /// A process that is alive writes before that: a batch that fails is at most asked for again in parts.
    fn claim_lasts(&self) -> Duration {
        self.timeout * 2 + MARGIN
    }
}

/// What is embedded of a passage: with what it stands below, for many a passage does not name its subject.
fn text_of(passage: &Unembedded) -> String {
    let heads = [passage.title.as_str(), &passage.heading];
    let heads = heads.into_iter().filter(|head| !head.is_empty());
    heads.chain([passage.text.as_str()]).collect::<Vec<_>>().join("\n")
}
