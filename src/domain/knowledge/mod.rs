//! Knowledge bases: documents, their passages, and the search.
//!
//! Pure. Indexing: `formats::documents` converts a file to Markdown, and [`PreparedDocument::prepare`] splits it into
//! passages with their terms. Searching: [`query_terms`] extracts the terms of a query, [`candidate_queries()`] selects
//! the full-text queries, and [`rank()`] orders the candidates. Words are stemmed here and not in the database, so
//! PostgreSQL and SQLite return the same results.

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
pub use fields::{
    MAX_NAME_LENGTH, MAX_TITLE_LENGTH, MAX_URL_LENGTH, URL_REQUIREMENT, is_slug, title_error, web_url,
};
pub use format::{Format, MAX_FILE};
pub use language::Language;
pub use rank::{Candidate, Corpus, Hit, rank};
pub use results::{MAX_RESULT_PASSAGES, search_result};
pub use search_mode::SearchMode;
pub use search_spec::search_spec;
pub use terms::{MAX_QUERY_TERMS, count_terms, document_terms, query_terms, scope_term};

#[cfg(test)]
mod properties;
