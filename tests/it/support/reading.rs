//! What reads documents: the real program, as a child.

use rejoinder::service::knowledge::DocumentExtractor;

pub fn readers() -> DocumentExtractor {
    DocumentExtractor::new(env!("CARGO_BIN_EXE_rejoinder").into())
}
