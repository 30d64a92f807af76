//! The text that is embedded for a passage.

use sha2::{Digest as _, Sha256};

/// Identifies an embedded text: its SHA-256.
pub type TextDigest = [u8; 32];

/// The passage's text after the title and heading, if there are any, because many passages do not name their subject.
#[must_use]
pub fn embedding_text(title: &str, heading: &str, text: &str) -> String {
    let heads = [title, heading].into_iter().filter(|head| !head.is_empty());
    heads.chain([text]).collect::<Vec<_>>().join("\n")
}

/// Passages with the same digest share one vector.
#[must_use]
pub fn text_digest(text: &str) -> TextDigest {
    Sha256::digest(text).into()
}
