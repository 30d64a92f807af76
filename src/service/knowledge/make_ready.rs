//! A document made ready to be written. Its reading and cutting may take long, and the reader of a broken PDF may
//! panic or never end: so it runs on a thread of its own, a few at a time, and is waited for so long and no longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::domain::error::Error;
use crate::domain::knowledge::{ExtractFault, Format, Language, Ready, TooLarge, to_markdown};

/// How many are read at once. One that never ends keeps its place.
const AT_ONCE: usize = 4;
/// How long reading may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What converters that recurse have, in bytes.
const STACK: usize = 16 * 1024 * 1024;

/// What a document is made from.
#[derive(Clone, Debug)]
pub struct Source {
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub format: Format,
    pub file: Vec<u8>,
}

/// Why no document was made, as a sentence goes on after "the document".
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error(transparent)]
    Extract(#[from] ExtractFault),
    #[error("is too large: {0}")]
    TooLarge(#[from] TooLarge),
    #[error("made its reader fail; it may be damaged")]
    Panicked,
    #[error("could not be read within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// Others are being read: the same again may succeed.
    #[error("has to wait: too many others are being read")]
    Busy,
}

impl From<Unready> for Error {
    fn from(fault: Unready) -> Self {
        match fault {
            Unready::Busy => {
                let text = "Too many documents are being read";
                Self::Overloaded { text, retry_after: Duration::from_secs(5) }
            }
            Unready::Extract(_) | Unready::TooLarge(_) | Unready::Panicked | Unready::TooSlow => {
                Self::invalid("document", format!("The document {fault}."))
            }
        }
    }
}

/// Reads and cuts documents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Readers {
    /// The document, cut for a base of this language.
    pub async fn make_ready(&self, source: Source, language: Language) -> Result<Ready, Unready> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned());
        let place = place.await.map_err(|_| Unready::Busy)?.map_err(|_| Unready::Busy)?;
        let (answer, answered) = oneshot::channel();
        // Not one of the runtime's own threads: a stop would wait for it.
        let thread = std::thread::Builder::new().name("document".to_owned()).stack_size(STACK);
        let spawned = thread.spawn(move || {
            let made = catch_unwind(AssertUnwindSafe(|| make_ready(source, language)));
            drop(place);
            // Whoever asked may have gone.
            let _ = answer.send(made.unwrap_or(Err(Unready::Panicked)));
        });
        spawned.map_err(|_| Unready::Busy)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(ready) => ready.unwrap_or(Err(Unready::Panicked)),
            Err(_) => Err(Unready::TooSlow),
        }
    }
}

fn make_ready(source: Source, language: Language) -> Result<Ready, Unready> {
    let Source { slug, title, url, format, file } = source;
    let markdown = to_markdown(&file, format)?;
    Ok(Ready::cut(slug, title, url, format, markdown, language)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(format: Format, file: &[u8]) -> Source {
        let (slug, title) = ("s".to_owned(), "S".to_owned());
        Source { slug, title, url: None, format, file: file.to_vec() }
    }

    #[tokio::test]
    async fn a_broken_pdf_is_told_and_the_next_document_is_read() {
        let readers = Readers::default();
        // A catalogue of pages that is its own page.
        let mut loops = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n".to_vec();
        loops.extend(b"2 0 obj<</Type/Pages/Kids[2 0 R]/Count 1>>endobj\ntrailer<</Root 1 0 R>>\n");
        for broken in [b"%PDF-1.7".as_slice(), b"", b"no pdf", &loops, &[0xff; 5000]] {
            let fault = readers.make_ready(source(Format::Pdf, broken), Language::English).await;
            assert!(fault.is_err(), "{broken:?}");
        }

        let ready = readers.make_ready(source(Format::Text, b"Hello."), Language::English).await.unwrap();

        assert_eq!(ready.passages[0].text, "Hello.");
    }
}
