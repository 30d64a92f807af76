//! The documents that a process is at: claimed, so that others embed other ones meanwhile. Each claim is a transaction of its
//! own: two that hold several rows could wait for one another.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::Services;
use super::{Course, Embeddings};
use crate::store::embedding_work::Work;
use crate::store::{Conn, StoreError, embedding_work};

/// Documents that are claimed together.
const CLAIMED: i64 = 16;
/// How much longer than two requests a claim lasts.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a document is left alone after the endpoint was silent for a text of it, the first time and later ones.
const PAUSES: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_mins(10), Duration::from_hours(1), Duration::from_hours(6)];

/// What is claimed and not done.
pub(super) struct Claims {
    pub(super) open: VecDeque<Work>,
    renewed: Instant,
}

impl Embeddings {
    pub(super) async fn claim(&self, services: &Services, course: &mut Course) -> Result<Claims, StoreError> {
        let (model, clock, after) = (self.embedder.model(), services.clock.as_ref(), course.after);
        let next = async |conn: Conn<'_>| embedding_work::next(conn, model, after, CLAIMED, clock).await;
        let found = services.db.reading(next).await?;
        if let Some(last) = found.last() {
            course.after = last.workspace;
        }
        let mut claims = Claims { open: VecDeque::new(), renewed: Instant::now() };
        for work in found {
            let lasting = self.claim_lasts();
            let claim = async |conn: Conn<'_>| embedding_work::claim(conn, work, model, lasting, clock).await;
            if services.db.writing(claim).await? {
                claims.open.push_back(work);
            }
        }
        Ok(claims)
    }

    /// Before each request: keeps the claims, where they were last kept a while ago.
    pub(super) async fn renew(&self, services: &Services, claims: &mut Claims) {
        let (model, clock, lasting) = (self.embedder.model(), services.clock.as_ref(), self.claim_lasts());
        if claims.renewed.elapsed() < lasting / 4 {
            return;
        }
        claims.renewed = Instant::now();
        for work in claims.open.iter().copied() {
            let renew = async |conn: Conn<'_>| embedding_work::renew(conn, work, model, lasting, clock).await;
            if let Err(error) = services.db.writing(renew).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a claim was not kept; another process may embed the document, too");
            }
        }
    }

    pub(super) async fn release(
        &self,
        services: &Services,
        work: Work,
        is_finished: bool,
    ) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        let release =
            async |conn: Conn<'_>| embedding_work::release(conn, work, model, is_finished, clock).await;
        services.db.writing(release).await
    }

    /// Gives a document up for a while: the endpoint is silent for a text of it alone.
    pub(super) async fn set_back(
        &self,
        services: &Services,
        work: Work,
        claims: &mut Claims,
    ) -> Result<(), StoreError> {
        let (model, clock) = (self.embedder.model(), services.clock.as_ref());
        tracing::warn!(
            document.id = %work.document,
            "the embeddings endpoint is silent for a passage; its document is found by its words for now"
        );
        let set_back =
            async |conn: Conn<'_>| embedding_work::set_back(conn, work, model, &PAUSES, clock).await;
        services.db.writing(set_back).await?;
        claims.open.retain(|open| *open != work);
        Ok(())
    }

    /// Longer than what passes between two renewals, a request included.
    fn claim_lasts(&self) -> Duration {
        self.timeout * 2 + MARGIN
    }
}
