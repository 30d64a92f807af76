//! A document made ready to be written: read and cut, a few at a time, and waited for so long and no longer.
//! PDF and HTML are read by a child process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::child;
use crate::domain::error::Error;
use crate::domain::knowledge::{ExtractFault, Format, Language, MAX_FILE, Ready, TooLarge, to_markdown};

/// How many are read at once.
const AT_ONCE: usize = 4;
/// How many may arrive, wait and be written at once: each is held whole.
const MOST_UPLOADS: usize = 16;
/// How long a document may wait to be read, and then be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// What its thread has, in bytes.
const STACK: usize = 16 * 1024 * 1024;

/// What a document is made from.
#[derive(Clone, Debug)]
pub struct Source {
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub format: Format,
    pub file: Bytes,
}

/// Why no document was made, as a sentence goes on after "the document".
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error(transparent)]
    Extract(#[from] ExtractFault),
    /// The same, as the child said it.
    #[error("{0}")]
    Refused(String),
    #[error("is too large: {0}")]
    TooLarge(#[from] TooLarge),
    #[error("cannot be read: its reader failed, or needed more than {} MiB; it may be damaged", child::MEMORY / 1024 / 1024)]
    Failed,
    #[error("cannot be read: it takes longer than {} s", PATIENCE.as_secs())]
    TooSlow,
    /// Others are being read: the same again may succeed.
    #[error("has to wait: too many others are being read")]
    Busy,
    /// A fault of ours.
    #[error("cannot be read, for the program that does it cannot be started: {0}")]
    NotStarted(std::io::Error),
}

impl From<Unready> for Error {
    fn from(fault: Unready) -> Self {
        match fault {
            Unready::Busy => busy(),
            Unready::NotStarted(_) => {
                Self::Unavailable { outcome_unknown: false, source: Some(Box::new(fault)) }
            }
            Unready::Extract(_)
            | Unready::Refused(_)
            | Unready::TooLarge(_)
            | Unready::Failed
            | Unready::TooSlow => Self::invalid("document", format!("The document {fault}.")),
        }
    }
}

fn busy() -> Error {
    Error::Overloaded { text: "Too many documents are being read", retry_after: Duration::from_secs(5) }
}

/// Reads and cuts documents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers {
    /// This program, which reads as a child.
    program: Arc<Path>,
    places: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    patience: Duration,
}

impl Readers {
    /// With the program whose `read-document` reads PDF and HTML.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program: program.into(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            uploads: Arc::new(Semaphore::new(MOST_UPLOADS)),
            patience: PATIENCE,
        }
    }

    /// The same, but no document may take longer.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A place for a document that is about to arrive, held until it is stored.
    pub fn upload(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| busy())
    }

    /// The document, cut for a base of this language.
    pub async fn make_ready(&self, source: Source, language: Language) -> Result<Ready, Unready> {
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| Unready::Busy)?.map_err(|_| Unready::Busy)?;
        let made = tokio::time::timeout(self.patience, self.read_and_cut(source, language, place));
        made.await.unwrap_or(Err(Unready::TooSlow))
    }

    async fn read_and_cut(
        &self,
        source: Source,
        language: Language,
        place: OwnedSemaphorePermit,
    ) -> Result<Ready, Unready> {
        let Source { slug, title, url, format, file } = source;
        if file.len() > MAX_FILE {
            return Err(ExtractFault::TooLarge.into());
        }
        let read = match format {
            Format::Markdown | Format::Text => None,
            Format::Html | Format::Pdf => Some(child::read(&self.program, &file, format).await?),
        };
        let make = move || {
            let markdown = read.map_or_else(|| to_markdown(&file, format), Ok)?;
            Ok(Ready::cut(slug, title, url, format, markdown, language)?)
        };
        let (answer, answered) = oneshot::channel();
        // Not one of the runtime's own threads: a stop would wait for it.
        let thread = std::thread::Builder::new().name("document".to_owned()).stack_size(STACK);
        let spawned = thread.spawn(move || {
            let ready = catch_unwind(AssertUnwindSafe(make));
            drop(place);
            // Whoever asked may have gone.
            let _ = answer.send(ready.unwrap_or(Err(Unready::Failed)));
        });
        spawned.map_err(Unready::NotStarted)?;
        answered.await.unwrap_or(Err(Unready::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(format: Format, file: &'static [u8]) -> Source {
        let (slug, title) = ("s".to_owned(), "S".to_owned());
        Source { slug, title, url: None, format, file: Bytes::from_static(file) }
    }

    #[tokio::test]
    async fn text_needs_no_program_and_the_rest_says_that_there_is_none() {
        let readers = Readers::new("/nowhere/rejoinder".into());

        let ready = readers.make_ready(source(Format::Text, b"Hello."), Language::English).await.unwrap();
        let fault = readers.make_ready(source(Format::Html, b"<p>Hello."), Language::English).await;

        assert_eq!(ready.passages[0].text, "Hello.");
        assert!(matches!(fault, Err(Unready::NotStarted(_))), "{fault:?}");
        assert!(matches!(fault.map_err(Error::from), Err(Error::Unavailable { outcome_unknown: false, .. })));
    }

    #[test]
    fn only_so_many_documents_arrive_at_once() {
        let readers = Readers::new(PathBuf::new());
        let mut held: Vec<_> = (0..MOST_UPLOADS).map(|_| readers.upload().unwrap()).collect();

        assert!(matches!(readers.upload(), Err(Error::Overloaded { .. })));
        held.pop();
        assert!(readers.upload().is_ok());
    }
}
