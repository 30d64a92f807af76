//! Prepares a document for writing: extracts its text and splits it into passages. The number of concurrent documents and
//! their time are limited. A child process reads PDF and HTML.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::child;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::knowledge::{Charset, DocumentTooLarge, Format, Language, MAX_FILE, PreparedDocument};
use crate::fair_semaphore::{FairPermit, FairSemaphore, Shares};
use crate::formats::documents::{ExtractError, to_markdown};

/// How many documents are read at once.
const MAX_CONCURRENT: usize = 4;
/// The bytes of the documents that may be arriving, waiting or being written at once: each is completely in memory.
const MAX_UPLOADED: usize = 16 * MAX_FILE;
/// What a smaller upload counts as, so that small ones are bounded in number.
const MIN_UPLOAD: usize = MAX_FILE / 8;
/// How long a document may wait to be read, and then be read.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Stack size of the thread, in bytes.
const STACK_SIZE: usize = 16 * 1024 * 1024;

/// The source of a document.
#[derive(Clone, Debug)]
pub struct DocumentSource {
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub format: Format,
    /// Declared with the file.
    pub charset: Option<Charset>,
    pub file: Bytes,
}

/// Why a document was not ingested. The texts continue a sentence that starts with "The document".
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// An [`ExtractError`] in the child, as text.
    #[error("{0}")]
    Refused(String),
    #[error("is too large: {0}")]
    TooLarge(#[from] DocumentTooLarge),
    #[error("cannot be read: its reader failed, or needed more than {} MiB; it may be damaged", child::MEMORY_LIMIT / 1024 / 1024)]
    Failed,
    #[error("cannot be read: it takes longer than {} s", TIMEOUT.as_secs())]
    TooSlow,
    /// Too many documents are being read; a retry may succeed.
    #[error("has to wait: too many others are being read")]
    Busy,
    /// A fault of this server.
    #[error("cannot be read, for the program that does it cannot be started: {0}")]
    NotStarted(std::io::Error),
}

impl From<IngestError> for Error {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Busy => busy(),
            IngestError::NotStarted(_) => {
                Self::Unavailable { outcome_unknown: false, source: Some(Box::new(error)) }
            }
            IngestError::Extract(_)
            | IngestError::Refused(_)
            | IngestError::TooLarge(_)
            | IngestError::Failed
            | IngestError::TooSlow => Self::invalid("document", format!("The document {error}.")),
        }
    }
}

fn busy() -> Error {
    Error::Overloaded { text: "Too many documents are being read", retry_after: Duration::from_secs(5) }
}

/// Extracts documents and splits them into passages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DocumentExtractor {
    /// This program, which also runs as the child.
    program: Arc<Path>,
    permits: FairSemaphore<WorkspaceId>,
    /// By bytes.
    upload_permits: FairSemaphore<WorkspaceId>,
    timeout: Duration,
}

impl DocumentExtractor {
    /// `program` is run with `read-document` to read PDF and HTML.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program: program.into(),
            permits: FairSemaphore::new(Shares::half_of(MAX_CONCURRENT)),
            upload_permits: FairSemaphore::new(Shares::half_of(MAX_UPLOADED)),
            timeout: TIMEOUT,
        }
    }

    /// Sets the time in which a document must be read.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Acquires a permit for a document of so many bytes that is about to arrive, to be held until it is stored.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the documents of all workspaces, or of this one, have too many bytes.
    pub fn acquire_upload(
        &self,
        workspace: WorkspaceId,
        bytes: usize,
    ) -> Result<FairPermit<WorkspaceId>, Error> {
        self.upload_permits.try_acquire(workspace, bytes.max(MIN_UPLOAD)).ok_or_else(busy)
    }

    /// Prepares a document for a base of this language.
    pub async fn ingest(
        &self,
        workspace: WorkspaceId,
        source: DocumentSource,
        language: Language,
    ) -> Result<PreparedDocument, IngestError> {
        let permit = self.permits.acquire_within(workspace, 1, self.timeout).await;
        let permit = permit.ok_or(IngestError::Busy)?;
        let ingested = tokio::time::timeout(self.timeout, self.extract_and_chunk(source, language, permit));
        ingested.await.unwrap_or(Err(IngestError::TooSlow))
    }

    async fn extract_and_chunk(
        &self,
        source: DocumentSource,
        language: Language,
        permit: FairPermit<WorkspaceId>,
    ) -> Result<PreparedDocument, IngestError> {
        let DocumentSource { slug, title, url, format, charset, file } = source;
        if file.len() > MAX_FILE {
            return Err(ExtractError::TooLarge.into());
        }
        let read = match format {
            Format::Markdown | Format::Text => None,
            Format::Html | Format::Pdf => Some(child::read(&self.program, &file, format, charset).await?),
        };
        let prepare = move || {
            let markdown = read.map_or_else(|| to_markdown(&file, format, charset), Ok)?;
            Ok(PreparedDocument::prepare(slug, title, url, format, markdown, language)?)
        };
        let (sender, receiver) = oneshot::channel();
        // A blocking thread of the runtime would delay the shutdown.
        let thread = std::thread::Builder::new().name("document".to_owned()).stack_size(STACK_SIZE);
        let spawned = thread.spawn(move || {
            let prepared = catch_unwind(AssertUnwindSafe(prepare));
            drop(permit);
            // The caller may have been cancelled.
            let _ = sender.send(prepared.unwrap_or(Err(IngestError::Failed)));
        });
        spawned.map_err(IngestError::NotStarted)?;
        receiver.await.unwrap_or(Err(IngestError::Failed))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));

    fn source(format: Format, file: &'static [u8]) -> DocumentSource {
        let (slug, title) = ("s".to_owned(), "S".to_owned());
        DocumentSource { slug, title, url: None, format, charset: None, file: Bytes::from_static(file) }
    }

    #[tokio::test]
    async fn text_needs_no_program_and_the_rest_says_that_there_is_none() {
        let extractor = DocumentExtractor::new("/nowhere/rejoinder".into());

        let ingest = |source| extractor.ingest(WORKSPACE, source, Language::English);
        let prepared = ingest(source(Format::Text, b"Hello.")).await.unwrap();
        let error = ingest(source(Format::Html, b"<p>Hello.")).await;

        assert_eq!(prepared.passages[0].text, "Hello.");
        assert!(matches!(error, Err(IngestError::NotStarted(_))), "{error:?}");
        assert!(matches!(error.map_err(Error::from), Err(Error::Unavailable { outcome_unknown: false, .. })));
    }

    #[test]
    fn the_documents_of_a_workspace_that_arrive_at_once_use_half_of_the_bytes() {
        let extractor = DocumentExtractor::new(PathBuf::new());
        let mut permits: Vec<_> =
            (0..8).map(|_| extractor.acquire_upload(WORKSPACE, MAX_FILE).unwrap()).collect();

        assert!(matches!(extractor.acquire_upload(WORKSPACE, 1), Err(Error::Overloaded { .. })));
        assert!(extractor.acquire_upload(WorkspaceId(Uuid::from_u128(2)), MAX_FILE).is_ok());
        permits.pop();
        let small: Vec<_> = (0..8).map(|_| extractor.acquire_upload(WORKSPACE, 1).unwrap()).collect();
        assert!(extractor.acquire_upload(WORKSPACE, 1).is_err());
        drop(small);
        assert!(extractor.acquire_upload(WORKSPACE, MAX_FILE).is_ok());
    }
}
