//! Knowledge bases and their documents, as they travel.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::{DocumentId, KnowledgeBaseId};
use crate::domain::knowledge::{Document, Format, Hit, KnowledgeBase, Language};
use crate::http::fields::Field;
use crate::service::knowledge::KnowledgeBaseDetails;
use crate::service::knowledge::documents::DocumentDetails;

/// A knowledge base to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = KnowledgeBaseIn)]
pub(in crate::http) struct BaseIn {
    /// Lower-case letters, digits, hyphens and underscores.
    #[schema(value_type = String, required, max_length = 64, example = "help")]
    pub(super) slug: Field,
    #[schema(value_type = String, required = false, max_length = 255)]
    pub(super) name: Field,
    /// `english` without it; `simple` reduces no words to their stems. It cannot be changed.
    #[schema(value_type = String, required = false, example = "german")]
    pub(super) language: Field,
}

/// What is to change in a knowledge base.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = KnowledgeBaseChange)]
pub(in crate::http) struct BaseUpdateIn {
    /// Empty: none.
    #[schema(value_type = String, required, max_length = 255)]
    pub(super) name: Field,
}

/// A knowledge base.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeBase)]
pub(in crate::http) struct BaseOut {
    #[schema(value_type = String, example = "kb_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: KnowledgeBaseId,
    #[schema(example = "help")]
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[schema(value_type = String, example = "english")]
    language: Language,
    /// Into how many passages its documents were cut.
    passages: i64,
    /// How many of them have a vector. Only where one base is read, and an embeddings endpoint is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded_passages: Option<i64>,
    /// Whether a workspace file made it: then it is changed there.
    from_file: bool,
    created_at: String,
    updated_at: String,
}

impl From<KnowledgeBase> for BaseOut {
    fn from(base: KnowledgeBase) -> Self {
        Self {
            id: base.id,
            slug: base.slug,
            name: base.name,
            language: base.language,
            passages: base.passages,
            embedded_passages: None,
            from_file: base.from_file,
            created_at: base.created_at.to_string(),
            updated_at: base.updated_at.to_string(),
        }
    }
}

impl From<KnowledgeBaseDetails> for BaseOut {
    fn from(KnowledgeBaseDetails { base, embedded }: KnowledgeBaseDetails) -> Self {
        Self { embedded_passages: embedded, ..base.into() }
    }
}

/// A document to be added.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::http) struct DocumentIn {
    /// Named as the source of what is found in it.
    #[schema(value_type = String, required, max_length = 255, example = "Returns")]
    pub(super) title: Field,
    /// At most 2 MiB as Markdown.
    #[schema(value_type = String, required, example = "# Refunds\n\nWithin 14 days.")]
    pub(super) text: Field,
    /// `markdown` (without it), `text` or `html`.
    #[schema(value_type = String, required = false)]
    pub(super) format: Field,
    /// Absent: made from the title.
    #[schema(value_type = String, required = false, max_length = 64)]
    pub(super) slug: Field,
    /// Where people read it; shown with what is found.
    #[schema(value_type = String, required = false, max_length = 2048)]
    pub(super) url: Field,
}

/// What is said of a file that is uploaded.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UploadQuery {
    /// Named as the source of what is found in it; without it the slug.
    pub(super) title: Option<String>,
    /// Where people read it; shown with what is found.
    pub(super) url: Option<String>,
}

/// A document of a knowledge base.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DocumentOut {
    #[schema(value_type = String, example = "doc_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: DocumentId,
    #[schema(value_type = String, example = "kb_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    knowledge_base_id: KnowledgeBaseId,
    #[schema(example = "returns")]
    slug: String,
    #[schema(example = "Returns")]
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What it was made from: `markdown`, `text`, `html` or `pdf`.
    #[schema(value_type = String, example = "markdown")]
    format: Format,
    /// Into how many passages it was cut.
    passages: i64,
    /// Whether a workspace file made it: then it is changed there.
    from_file: bool,
    created_at: String,
    updated_at: String,
}

impl From<Document> for DocumentOut {
    fn from(document: Document) -> Self {
        Self {
            id: document.id,
            knowledge_base_id: document.base,
            slug: document.slug,
            title: document.title,
            url: document.url,
            format: document.format,
            passages: document.passages,
            from_file: document.from_file,
            created_at: document.created_at.to_string(),
            updated_at: document.updated_at.to_string(),
        }
    }
}

/// A document with its text.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DocumentWithTextOut {
    #[serde(flatten)]
    #[schema(inline)]
    document: DocumentOut,
    /// As Markdown.
    text: String,
    /// How many of its passages have a vector. Only where an embeddings endpoint is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded_passages: Option<i64>,
}

impl From<DocumentDetails> for DocumentWithTextOut {
    fn from(with: DocumentDetails) -> Self {
        Self { document: with.document.into(), text: with.text, embedded_passages: with.embedded }
    }
}

/// What is looked for.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = KnowledgeSearch)]
pub(in crate::http) struct SearchIn {
    /// Words or a question; nothing in it is an operator.
    #[schema(value_type = String, required, max_length = 1000, example = "How do I return a chair?")]
    pub(super) query: Field,
    /// How many passages; 5 without it, as many as an assistant is shown.
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 50)]
    pub(super) limit: Field,
    /// `both` without it, as an assistant searches; `words` or `vectors` alone, to compare. `vectors` takes an embeddings
    /// endpoint, and finds nothing while that does not answer.
    #[schema(value_type = String, required = false, example = "both")]
    pub(super) by: Field,
}

/// A passage that was found.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HitOut {
    #[schema(value_type = String, example = "doc_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    document_id: DocumentId,
    #[schema(example = "returns")]
    document_slug: String,
    /// The document's title.
    #[schema(example = "Returns")]
    source: String,
    /// The headings that it stands below.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Returns > Refunds")]
    heading: Option<String>,
    /// Markdown.
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Higher is better; only comparable within one search.
    score: f64,
}

impl From<Hit> for HitOut {
    fn from(Hit { passage, score }: Hit) -> Self {
        Self {
            document_id: passage.document,
            document_slug: passage.document_slug,
            source: passage.title,
            heading: Some(passage.heading).filter(|heading| !heading.is_empty()),
            text: passage.text,
            url: passage.url,
            score,
        }
    }
}

/// Passages, the best first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundOut)]
pub(in crate::http) struct SearchResultsOut {
    pub(super) items: Vec<HitOut>,
}
