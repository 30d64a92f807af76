//! Knowledge: documents of a base, cut into passages, and how they are found again.
//!
//! Pure: one pipeline leads from a file to Markdown (`formats::documents`), to passages with their words
//! ([`PreparedDocument::prepare`]), and from a query to its words ([`query_terms`]), to what the store's engine is asked for
//! ([`candidate_queries()`]), and to an order ([`rank()`]). Words are stemmed here, so both databases hold and find the same.

mod candidate_queries;
mod charset;
mod chunk;
mod document;
mod embedding;
mod fields;
mod format;
mod language;
mod rank;
mod results;
mod search_mode;
mod search_spec;
mod terms;

pub use candidate_queries::{CandidateQuery, MAX_CANDIDATES, candidate_queries};
pub use charset::{Charset, UnknownCharset};
pub use chunk::{Passage, chunk};
pub use document::{
    Document, DocumentTooLarge, KnowledgeBase, MAX_PASSAGES, MAX_TERMS, MAX_TEXT, MAX_TITLE_PASSAGES,
    PreparedDocument, PreparedPassage, searchable_words, slugify,
};
pub use embedding::{TextDigest, embedding_text, text_digest};
pub use fields::{URL_REQUIREMENT, is_slug, title_error, web_url};
pub use format::{Format, MAX_FILE};
pub use language::Language;
pub use rank::{Candidate, Corpus, Hit, rank};
pub use results::{MAX_RESULT_PASSAGES, search_result};
pub use search_mode::SearchMode;
pub use search_spec::search_spec;
pub use terms::{MAX_QUERY_TERMS, count_terms, document_terms, query_terms, scope_term};

#[cfg(test)]
mod properties;
