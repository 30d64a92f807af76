//! The document extractor that runs the real program as a child process.

use rejoinder::service::knowledge::DocumentExtractor;

pub fn child_process() -> DocumentExtractor {
    DocumentExtractor::new(env!("CARGO_BIN_EXE_rejoinder").into())
}
