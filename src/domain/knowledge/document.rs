//! A knowledge base, its documents, and a document prepared for storage.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use super::fields::MAX_SLUG_LENGTH;
use super::{Format, Language, TextDigest, chunk, document_terms, embedding_text, text_digest};
use crate::domain::clock::Micros;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};

/// How long a document's Markdown may be, in bytes.
pub const MAX_TEXT: usize = 2 * 1024 * 1024;
/// How many passages a document may have: so many are written in one transaction.
pub const MAX_PASSAGES: usize = 5000;
/// How many different words a document may have, likewise: each is a row that is counted. A long novel has 30,000.
pub const MAX_TERMS: usize = 50_000;
/// So many passages of a document are found by the words of its title; the others only rank by them, or a long
/// document would be all that is looked at for these words. The migrations have this number, too.
pub const MAX_TITLE_PASSAGES: i64 = 20;
/// Raise it when the chunker or the terms of a text change, so that stored documents are prepared again.
const CHUNKER_VERSION: &str = "2";

/// A knowledge base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnowledgeBase {
    pub workspace: WorkspaceId,
    pub id: KnowledgeBaseId,
    pub slug: String,
    pub name: Option<String>,
    pub language: Language,
    /// Of all its documents.
    pub passages: i64,
    /// Of all its passages.
    pub words: i64,
    /// A workspace file made it.
    pub from_file: bool,
    pub archived_at: Option<Micros>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// A document, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub workspace: WorkspaceId,
    pub id: DocumentId,
    pub base: KnowledgeBaseId,
    /// Unique in its base.
    pub slug: String,
    pub title: String,
    /// The address at which people read it.
    pub url: Option<String>,
    /// The format of its source; its text is Markdown.
    pub format: Format,
    /// Of all that its passages come from.
    pub digest: Vec<u8>,
    pub passages: i64,
    pub words: i64,
    /// A workspace file made it.
    pub from_file: bool,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// A document ready to be written: chunked and indexed, before anything is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedDocument {
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub format: Format,
    /// Markdown.
    pub text: String,
    pub digest: [u8; 32],
    pub passages: Vec<PreparedPassage>,
}

/// A passage ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedPassage {
    pub heading: String,
    pub text: String,
    /// The words of title, heading and text, with ` / ` between the three.
    pub words: String,
}

/// A document that is more than a base takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentTooLarge {
    #[error("its text is longer than {} KiB", MAX_TEXT / 1024)]
    Text,
    #[error("its text makes more than {MAX_PASSAGES} passages")]
    Passages,
    #[error("it has more than {MAX_TERMS} different words")]
    Terms,
}

impl PreparedDocument {
    /// Cuts a document's Markdown, for a base of this language.
    pub fn prepare(
        slug: String,
        title: String,
        url: Option<String>,
        format: Format,
        text: String,
        language: Language,
    ) -> Result<Self, DocumentTooLarge> {
        if text.len() > MAX_TEXT {
            return Err(DocumentTooLarge::Text);
        }
        let passages = chunk(&text);
        if passages.len() > MAX_PASSAGES {
            return Err(DocumentTooLarge::Passages);
        }
        let title_terms = document_terms(&title, language);
        let words = |heading: &str, text: &str| {
            let (heading, text) = (document_terms(heading, language), document_terms(text, language));
            let fields = [title_terms.as_slice(), &heading, &text];
            let divided = fields.join(&"/".to_owned());
            divided.join(" ")
        };
        let mut terms = HashSet::new();
        let mut prepared = Vec::with_capacity(passages.len());
        for passage in passages {
            let words = words(&passage.heading, &passage.text);
            for word in words.split(' ') {
                if !terms.contains(word) {
                    terms.insert(word.to_owned());
                }
            }
            if terms.len() > MAX_TERMS {
                return Err(DocumentTooLarge::Terms);
            }
            prepared.push(PreparedPassage { words, heading: passage.heading, text: passage.text });
        }
        let digest = digest_of(&title, url.as_deref(), format, language, &text);
        Ok(Self { passages: prepared, slug, title, url, format, text, digest })
    }

    /// What is another in it than in the document that it replaces, and in which language that one was read.
    #[must_use]
    pub fn changed_fields(
        &self,
        old: &Document,
        old_language: Language,
        new_language: Language,
    ) -> Vec<&'static str> {
        let with_this_text = digest_of(&old.title, old.url.as_deref(), old.format, old_language, &self.text);
        let parts = [
            ("title", old.title != self.title),
            ("url", old.url != self.url),
            ("format", old.format != self.format),
            ("language", old_language != new_language),
            ("text", old.digest != with_this_text),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
    }

    /// Of the text that is embedded of each passage, in order.
    #[must_use]
    pub fn embedding_digests(&self) -> Vec<TextDigest> {
        let text = |passage: &PreparedPassage| embedding_text(&self.title, &passage.heading, &passage.text);
        self.passages.iter().map(|passage| text_digest(&text(passage))).collect()
    }
}

impl PreparedPassage {
    /// How many words it has.
    #[must_use]
    pub fn word_count(&self) -> i64 {
        let words = self.words.split(' ').filter(|word| !word.is_empty() && *word != "/");
        i64::try_from(words.count()).unwrap_or(i64::MAX)
    }
}

fn digest_of(title: &str, url: Option<&str>, format: Format, language: Language, text: &str) -> [u8; 32] {
    digest(&[CHUNKER_VERSION, title, url.unwrap_or_default(), format.as_str(), language.as_str(), text])
}

/// The words that the passage at this position, from 0, is found by.
#[must_use]
pub fn searchable_words(position: i64, words: &str) -> &str {
    if position < MAX_TITLE_PASSAGES {
        return words;
    }
    words.split_once('/').map_or(words, |(_, rest)| rest)
}

/// A digest of all parts.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// A slug for a title: its letters and digits without accents, with hyphens between the words. None where there are
/// none that a slug may have.
#[must_use]
pub fn slugify(title: &str) -> Option<String> {
    let plain: String = title.nfkd().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')).collect();
    let plain = plain.to_lowercase().replace('ß', "ss");
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug: String = words.collect::<Vec<_>>().join("-").chars().take(MAX_SLUG_LENGTH).collect();
    let slug = slug.trim_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(title: &str, text: &str) -> Result<PreparedDocument, DocumentTooLarge> {
        let (slug, title, text) = ("s".to_owned(), title.to_owned(), text.to_owned());
        PreparedDocument::prepare(slug, title, None, Format::Markdown, text, Language::English)
    }

    #[test]
    fn a_passage_has_the_words_of_title_heading_and_text() {
        let document = prepared("Returned items", "# Refunds\nWithin days.\n\n# Else\n…").unwrap();

        let words: Vec<_> = document.passages.iter().map(|passage| passage.words.as_str()).collect();
        assert_eq!(words, ["return item / refund / within day", "return item / els /"]);
        assert_eq!(document.passages[0].word_count(), 5);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(prepared("t", &"a".repeat(MAX_TEXT + 1)), Err(DocumentTooLarge::Text));
        assert_eq!(prepared("t", &"# a\n".repeat(MAX_PASSAGES + 1)), Err(DocumentTooLarge::Passages));
        assert_eq!(prepared("t", "").unwrap().passages, []);
        let words =
            |count: usize| (0..count).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(prepared("t", &words(MAX_TERMS + 1)), Err(DocumentTooLarge::Terms));
        assert!(prepared("t", &words(MAX_TERMS / 2)).is_ok());
    }

    #[test]
    fn the_digest_depends_on_the_chunker_version() {
        let document = prepared("t", "x").unwrap();

        assert_ne!(document.digest, digest(&["t", "", "markdown", "english", "x"]));
        assert_eq!(document.digest, digest(&[CHUNKER_VERSION, "t", "", "markdown", "english", "x"]));
    }

    #[test]
    fn a_late_passage_is_found_by_all_but_its_title() {
        assert_eq!(
            searchable_words(MAX_TITLE_PASSAGES - 1, "return item / refund / day"),
            "return item / refund / day"
        );
        assert_eq!(searchable_words(MAX_TITLE_PASSAGES, "return item / refund / day"), " refund / day");
        assert_eq!(searchable_words(MAX_TITLE_PASSAGES, "/ / day"), " / day");
    }

    #[test]
    fn a_title_makes_a_slug() {
        for (title, slug) in [
            ("Returns & Refunds", Some("returns-refunds")),
            ("  Größe: Café №5 ", Some("grosse-cafe-no5")),
            ("返品", None),
            ("", None),
        ] {
            assert_eq!(slugify(title).as_deref(), slug, "{title}");
        }
        assert!(slugify(&"long ".repeat(40)).unwrap().len() <= MAX_SLUG_LENGTH);
    }
}
