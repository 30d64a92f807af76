//! The text that is embedded for a passage.

use sha2::{Digest as _, Sha256};

/// Identifies an embedded text: its SHA-256.
pub type TextDigest = [u8; 32];

/// A passage's text below its document's title and its heading, where there are such: for many a passage does not name its
/// subject.
#[must_use]
pub fn embedding_text(title: &str, heading: &str, text: &str) -> String {
    let heads = [title, heading].into_iter().filter(|head| !head.is_empty());
    heads.chain([text]).collect::<Vec<_>>().join("\n")
}

/// Texts with one digest have one vector.
#[must_use]
pub fn text_digest(text: &str) -> TextDigest {
    Sha256::digest(text).into()
}
