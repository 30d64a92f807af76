//! Knowledge: documents of a base, cut into passages, and how they are found again.
//!
//! Pure: one pipeline leads from a file to Markdown ([`to_markdown`]), to passages with their words
//! ([`Ready::cut`]), and from a query to its words ([`query_terms`]), to what the store's engine is asked for
//! ([`plan()`]), and to an order ([`rank()`]). Words are stemmed here, so both databases hold and find the same.

mod cut;
mod document;
mod embedding;
mod extract;
mod fields;
mod language;
mod nesting;
mod plan;
mod rank;
mod results;
mod schema;
mod search_by;
mod terms;

pub use cut::{Passage, cut};
pub use document::{
    Base, Document, MAX_PASSAGES, MAX_TERMS, MAX_TEXT, Ready, ReadyPassage, TITLED, TooLarge, searched,
    slug_of,
};
pub use embedding::{TextDigest, embedding_text, text_digest};
pub use extract::{ExtractFault, Format, MAX_FILE, to_markdown};
pub use fields::{URL_WANTED, is_slug, title_fault, web_url};
pub use language::Language;
pub use plan::{MAX_CANDIDATES, Tier, plan};
pub use rank::{Candidate, Corpus, Hit, rank};
pub use results::{MOST_PASSAGES, search_result};
pub use schema::{SEARCH_DESCRIPTION, SEARCH_NAME, search_schema};
pub use search_by::SearchBy;
pub use terms::{MAX_QUERY_TERMS, count_terms, document_terms, query_terms, scope_term};

#[cfg(test)]
mod properties;
