//! Knowledge bases: configured and searched.

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::Schema;

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::error::Error;
use crate::domain::ids::{DocumentId, KnowledgeBaseId};
use crate::domain::knowledge::{
    Hit, KnowledgeBase, Language, MAX_NAME_LENGTH, MAX_RESULT_PASSAGES, SearchMode, is_slug,
};
use crate::domain::render::Success;
use crate::domain::schema::pattern;
use crate::http::describe::{ManagedByFile, NotFound, error_sets};
use crate::http::extract::{ConfigWrite, Input, NoInput, PathParam, QueryParams, Read};
use crate::http::fields::{
    AnyText, Choice, Clearable, FieldType, Integer, Note, OneOf, Text, Violation, request,
};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::knowledge::{self, CreateKnowledgeBase, KnowledgeBaseDetails, SearchRequest};

type BaseCursor = Cursor<KnowledgeBaseId, 'k'>;

error_sets! {
    /// A knowledge base that tools use.
    BaseInUse {
        "Tools use the knowledge base" => Error::Conflict(
            "The knowledge base 'help' is used by these tools: 'search'. Archive them first.".to_owned(),
        ),
    }
}

/// A [`Slug`], as a regular expression without anchors.
pub(super) const SLUG: &str = "(?!(doc|kb|cal)_[0-7][0-9a-hjkmnp-tv-z]{25}$)[a-z0-9_-]{1,64}";

/// The slug of a knowledge base, a document or a calendar.
#[derive(Debug)]
pub(super) enum Slug {}

impl FieldType for Slug {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let slug = AnyText::check(raw)?;
        slug.map(checked_slug).transpose()
    }

    fn schema() -> Schema {
        pattern(format!("^{SLUG}$")).into()
    }
}

pub(super) fn checked_slug(slug: String) -> Result<String, Violation> {
    let rule = "must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id";
    if is_slug(&slug) { Ok(slug) } else { Err(Violation::rule(rule)) }
}

/// The languages of knowledge bases.
#[derive(Debug)]
pub(super) enum Languages {}

impl Choice for Languages {
    type Value = Language;

    fn words() -> Vec<&'static str> {
        Language::ALL.iter().map(|language| language.as_str()).collect()
    }
}

/// The modes of a search.
#[derive(Debug)]
pub(super) enum Modes {}

impl Choice for Modes {
    type Value = SearchMode;

    fn words() -> Vec<&'static str> {
        vec!["words", "vectors", "both"]
    }
}

request! {
    /// A new knowledge base.
    pub(super) struct BaseIn as NewKnowledgeBase {
        /// Lower-case letters, digits, hyphens and underscores.
        slug: Slug = "help",
        name: Option<Note<MAX_NAME_LENGTH>>,
        /// `english` by default; `simple` does not stem words. It cannot be changed later.
        language: Option<OneOf<Languages>> = "german",
    }
}

request! {
    /// Changes to a knowledge base.
    pub(super) struct BaseUpdateIn as KnowledgeBaseUpdate update {
        /// `null` or an empty string removes the name.
        name: Option<Clearable<Note<MAX_NAME_LENGTH>>> = "Help pages",
    }
}

request! {
    /// A search.
    pub(super) struct SearchIn as KnowledgeSearch {
        /// Words or a question. There are no search operators.
        query: Text<1000> = "How do I return a chair?",
        /// Maximum number of passages; 5 by default, as many as an assistant sees.
        limit: Option<Integer<u32, 1, 50>>,
        /// `both` by default, as an assistant searches. `words` or `vectors` alone are for comparison. `vectors` requires an
        /// embeddings endpoint, and finds nothing while that is unavailable.
        by: Option<OneOf<Modes>> = "both",
    }
}

error_sets! {
    /// A search by vectors.
    NoEmbeddings {
        "There is no embeddings endpoint to search by vectors" => Error::Conflict(
            "Field 'by' must not be vectors: no embeddings endpoint is configured.".to_owned(),
        ),
    }
}

/// A knowledge base.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeBase)]
pub(super) struct BaseOut {
    id: KnowledgeBaseId,
    #[schema(example = "help")]
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Help")]
    name: Option<String>,
    language: Language,
    /// The number of passages of its documents.
    #[schema(example = 12)]
    passages: i64,
    /// The number of passages with a vector. Only present when a single base is read and an embeddings endpoint is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded_passages: Option<i64>,
    /// Whether a workspace file manages it; if so, it can only be changed there.
    #[schema(example = false)]
    from_file: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
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

/// A passage that matches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeHit)]
pub(super) struct HitOut {
    document_id: DocumentId,
    #[schema(example = "returns")]
    document_slug: String,
    /// The document's title.
    #[schema(example = "Returns")]
    source: String,
    /// The headings above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Returns > Refunds")]
    heading: Option<String>,
    /// Markdown.
    #[schema(example = "You can return an item within 14 days.")]
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    url: Option<String>,
    /// Higher is better; only comparable within one search.
    #[schema(example = 0.032)]
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

/// Passages, best first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeSearchResults)]
pub(super) struct SearchResultsOut {
    items: Vec<HitOut>,
}

/// Create a knowledge base.
#[utoipa::path(
    post, path = "/knowledge_bases", tag = "platform", operation_id = "createKnowledgeBase",
    security(("bearer" = ["config"])), request_body = BaseIn,
    responses((status = 200, description = "The knowledge base", body = Success<BaseOut>), ConfigErrors<(Input<BaseIn>, ManagedByFile)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    Input { value: input, .. }: Input<BaseIn>,
) -> Answer<BaseOut> {
    let request = CreateKnowledgeBase {
        slug: input.slug,
        name: input.name,
        language: input.language.unwrap_or(Language::English),
    };
    let created = knowledge::create(&state.services, &account, request).await?;
    Ok(Success::new("Knowledge base created successfully.", BaseOut::from(created)))
}

/// List knowledge bases.
///
/// The oldest comes first.
#[utoipa::path(
    get, path = "/knowledge_bases", tag = "platform", operation_id = "listKnowledgeBases",
    security(("bearer" = ["read"])), params(PageParams::<BaseCursor>),
    responses((status = 200, description = "A page", body = Success<Page<BaseOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<BaseOut>> {
    let (bases, next) = BaseCursor::read_page::<KnowledgeBase>(&state.services, &account, &query).await?;
    Ok(Success::new("Knowledge bases retrieved successfully.", Page::new(bases, next)))
}

/// Read a knowledge base.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "readKnowledgeBase",
    security(("bearer" = ["read"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…")),
    responses((status = 200, description = "The knowledge base", body = Success<BaseOut>), ReadErrors<NotFound<KnowledgeBaseId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<BaseOut> {
    let base = knowledge::read(&state.services, &account, &name).await?;
    Ok(Success::new("Knowledge base retrieved successfully.", BaseOut::from(base)))
}

/// Rename a knowledge base.
#[utoipa::path(
    patch, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "updateKnowledgeBase",
    security(("bearer" = ["config"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…")), request_body = BaseUpdateIn,
    responses((status = 200, description = "The knowledge base after the change", body = Success<BaseOut>), ConfigErrors<(Input<BaseUpdateIn>, NotFound<KnowledgeBaseId>, ManagedByFile)>),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    Input { value: input, .. }: Input<BaseUpdateIn>,
) -> Answer<BaseOut> {
    let base = knowledge::rename(&state.services, &account, &name, input.name.flatten()).await?;
    Ok(Success::new("Knowledge base updated successfully.", BaseOut::from(base)))
}

/// Delete a knowledge base.
///
/// Its documents are deleted, too. A knowledge base that tools use cannot be deleted.
#[utoipa::path(
    delete, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "deleteKnowledgeBase",
    security(("bearer" = ["config"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…")),
    responses((status = 200, description = "The knowledge base as it was", body = Success<BaseOut>), ConfigErrors<(NoInput, NotFound<KnowledgeBaseId>, ManagedByFile, BaseInUse)>),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<BaseOut> {
    let base = knowledge::delete(&state.services, &account, &name).await?;
    Ok(Success::new("Knowledge base deleted successfully.", BaseOut::from(base)))
}

/// Search a knowledge base.
///
/// Searches as an assistant's tool does, to test what it finds.
#[utoipa::path(
    post, path = "/knowledge_bases/{id}/search", tag = "platform", operation_id = "searchKnowledgeBase",
    security(("bearer" = ["read"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…")), request_body = SearchIn,
    responses((status = 200, description = "The best matching passages", body = Success<SearchResultsOut>), ReadErrors<(Input<SearchIn>, NoEmbeddings, NotFound<KnowledgeBaseId>)>),
)]
pub(super) async fn search(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    Input { value: input, .. }: Input<SearchIn>,
) -> Answer<SearchResultsOut> {
    let request = SearchRequest {
        query: input.query,
        limit: input.limit.map_or(MAX_RESULT_PASSAGES, |limit| limit as usize),
        by: input.by.unwrap_or(SearchMode::Both),
    };
    let hits = knowledge::search(&state.services, &account, &name, &request).await?;
    let items: Vec<HitOut> = hits.into_iter().map(Into::into).collect();
    Ok(Success::new("Knowledge base searched successfully.", SearchResultsOut { items }))
}
