//! The documents of a knowledge base.

use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use super::document_forms::{self, DocumentForm, FileBytes, FileForm};
use super::knowledge_bases::{Slug, checked_slug};
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::error::Error;
use crate::domain::ids::{DocumentId, KnowledgeBaseId};
use crate::domain::knowledge::{
    Charset, Document, Format, MAX_FILE, MAX_TEXT, MAX_URL_LENGTH, URL_REQUIREMENT, slugify, title_error,
    web_url,
};
use crate::domain::render::Success;
use crate::http::describe::{ManagedByFile, NotFound, error_sets};
use crate::http::envelope::{Platform, RouteOptions};
use crate::http::extract::{
    Body, ConfigWrite, FormOr, Input, NestedPathParams, NoInput, PathParam, QueryParams, Read, Upload,
};
use crate::http::fields::{AnyText, Choice, FieldType, Name, OneOf, Violation, request, url_schema};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::knowledge::DocumentSource;
use crate::service::knowledge::documents::{self, DocumentDetails, OnConflict};

type DocumentCursor = Cursor<DocumentId, 'o'>;

/// A route whose body is a file.
#[derive(Debug)]
pub(super) enum UploadOptions {}

impl RouteOptions for UploadOptions {
    type Envelope = Platform;
    const MAX_BODY: usize = MAX_FILE;
    const REQUIRES_JSON: bool = false;
}

/// A route whose JSON body has a document's text, which escapes may double.
#[derive(Debug)]
pub(super) enum TextUploadOptions {}

impl RouteOptions for TextUploadOptions {
    type Envelope = Platform;
    const MAX_BODY: usize = 2 * MAX_TEXT;
    const REQUIRES_JSON: bool = true;
}

/// A document's title.
#[derive(Debug)]
pub(super) enum Title {}

impl FieldType for Title {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        Name::check(raw)?.map(checked_title).transpose()
    }

    fn schema() -> Schema {
        Name::schema()
    }
}

fn checked_title(title: String) -> Result<String, Violation> {
    title_error(&title).map_or(Ok(title), |error| Err(Violation::rule(error)))
}

/// The web address of a document.
#[derive(Debug)]
pub(super) enum WebUrl {}

impl FieldType for WebUrl {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        AnyText::check(raw)?.as_deref().map(checked_url).transpose()
    }

    fn schema() -> Schema {
        url_schema(MAX_URL_LENGTH)
    }
}

fn checked_url(url: &str) -> Result<String, Violation> {
    web_url(url).ok_or_else(|| Violation::rule(URL_REQUIREMENT))
}

/// The formats of a text. A PDF is binary, so it has to be uploaded.
#[derive(Debug)]
pub(super) enum TextFormats {}

impl Choice for TextFormats {
    type Value = Format;

    fn words() -> Vec<&'static str> {
        vec!["markdown", "text", "html"]
    }
}

request! {
    /// A new document.
    pub(super) struct DocumentIn as NewDocument {
        /// Search results name it as their source.
        title: Title = "Returns",
        /// At most 2 MiB as Markdown.
        text: AnyText = "# Refunds\n\nWithin 14 days.",
        /// `markdown` (default), `text` or `html`.
        format: Option<OneOf<TextFormats>>,
        /// Derived from the title by default.
        slug: Option<Slug>,
        /// The URL at which people read the document; search results include it.
        url: Option<WebUrl>,
    }
}

fn document(input: DocumentIn) -> Result<DocumentSource, Error> {
    let slug = input
        .slug
        .or_else(|| slugify(&input.title))
        .ok_or_else(|| Violation::rule("is required, for this title makes none").of::<Platform>("slug"))?;
    Ok(DocumentSource {
        slug,
        title: input.title,
        url: input.url,
        format: input.format.unwrap_or(Format::Markdown),
        // JSON is UTF-8, whatever a page says.
        charset: Some(Charset::UTF_8),
        file: input.text.into(),
    })
}

/// The query of an upload whose body is the file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// The title, which search results name as their source; the slug by default.
    #[param(max_length = 255, pattern = r"^[^\u0000]*$")]
    title: Option<String>,
    /// The URL at which people read the document; search results include it.
    #[param(format = "uri", max_length = 2048)]
    url: Option<String>,
}

impl UploadQuery {
    /// Refuses the fields that a form has as parts.
    fn refuse(&self) -> Result<(), Error> {
        let field = match (&self.title, &self.url) {
            (Some(_), _) => "title",
            (None, Some(_)) => "url",
            (None, None) => return Ok(()),
        };
        Err(Violation::rule("must be a part of the form, not of the query").of::<Platform>(field))
    }
}

type NewDocumentBody = FormOr<DocumentForm, Input<DocumentIn, TextUploadOptions>>;
type FileBody = FormOr<FileForm, Body<UploadOptions>>;

fn upload(slug: &str, query: UploadQuery, headers: &HeaderMap, file: Bytes) -> Result<DocumentSource, Error> {
    let title = query.title.filter(|title| !title.trim().is_empty());
    let title = title.unwrap_or_else(|| slug.to_owned());
    let (slug, title, url) = checked_fields(slug.to_owned(), title, query.url.as_deref())?;
    let (format, charset) = declared_type(headers)?.ok_or_else(|| {
        let text = "Header 'Content-Type' must be one of: text/markdown, text/plain, text/html, application/pdf, \
             multipart/form-data.";
        Error::invalid("content-type", text)
    })?;
    Ok(DocumentSource { slug, title, url, format, charset, file })
}

/// The checked slug, title and URL of a file.
pub(super) fn checked_fields(
    slug: String,
    title: String,
    url: Option<&str>,
) -> Result<(String, String, Option<String>), Error> {
    let invalid = |field| move |violation: Violation| violation.of::<Platform>(field);
    let slug = checked_slug(slug).map_err(invalid("slug"))?;
    let url = url.map(checked_url).transpose().map_err(invalid("url"))?;
    Ok((slug, checked_title(title).map_err(invalid("title"))?, url))
}

/// The format and the charset that `Content-Type` declares; none if it is no type of a document.
pub(super) fn declared_type(headers: &HeaderMap) -> Result<Option<(Format, Option<Charset>)>, Error> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let Some(format) = Format::from_media_type(&essence) else { return Ok(None) };
    if format == Format::Pdf {
        return Ok(Some((format, None)));
    }
    let charset = Charset::from_content_type(declared)
        .transpose()
        .map_err(|error| Error::invalid("content-type", format!("Header 'Content-Type' names {error}.")))?;
    Ok(Some((format, charset)))
}

error_sets! {
    /// Only a few documents are read at a time.
    TooManyDocuments {
        "Too many documents are being processed; see Retry-After" => Error::Overloaded {
            text: "Too many documents are being read",
            retry_after: Duration::from_secs(5),
        },
    }

    /// The uploaded file.
    UnreadableFile {
        "The file cannot be read, or its Content-Type is not supported" => Error::invalid(
            "document",
            "The document has no text in it.",
        ),
    }
}

/// A document of a knowledge base.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Document)]
pub(super) struct DocumentOut {
    id: DocumentId,
    knowledge_base_id: KnowledgeBaseId,
    #[schema(example = "returns")]
    slug: String,
    #[schema(example = "Returns")]
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri", max_length = 2048)]
    url: Option<String>,
    /// The format of the source: `markdown`, `text`, `html` or `pdf`.
    format: Format,
    /// The number of its passages.
    #[schema(example = 12)]
    passages: i64,
    /// Whether a workspace file manages it; if so, it can only be changed there.
    #[schema(example = false)]
    from_file: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
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
#[schema(as = DocumentWithText)]
pub(super) struct DocumentWithTextOut {
    #[serde(flatten)]
    #[schema(inline)]
    document: DocumentOut,
    /// As Markdown.
    #[schema(example = "# Returns\n\nYou can return an item within 14 days.")]
    text: String,
    /// The number of its passages with a vector. Only present if an embeddings endpoint is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded_passages: Option<i64>,
}

impl From<DocumentDetails> for DocumentWithTextOut {
    fn from(with: DocumentDetails) -> Self {
        Self { document: with.document.into(), text: with.text, embedded_passages: with.embedded }
    }
}

/// Add a document.
///
/// The body is JSON that contains the text, or a form with a file: Markdown, text, HTML or PDF.
#[utoipa::path(
    post, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "createDocument",
    security(("bearer" = ["config"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…")),
    request_body(content((DocumentIn = "application/json"), (DocumentForm = "multipart/form-data"))),
    responses((status = 200, description = "The document", body = Success<DocumentOut>), ConfigErrors<(UnreadableFile, NewDocumentBody, TooManyDocuments, NotFound<KnowledgeBaseId>, ManagedByFile)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Upload(account, _permit): Upload,
    PathParam(base): PathParam,
    body: NewDocumentBody,
) -> Answer<DocumentOut> {
    let source = match body {
        FormOr::Form(form) => document_forms::new_document(form)?,
        FormOr::Body(input) => document(input.value)?,
    };
    let created = documents::put(&state.services, &account, &base, source, OnConflict::Refuse).await?;
    Ok(Success::new("Document created successfully.", DocumentOut::from(created)))
}

/// Upload a document.
///
/// A document with the same slug is replaced. The body is the file, or a form with it: Markdown, text, HTML or PDF.
#[utoipa::path(
    put, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "putDocument",
    security(("bearer" = ["config"])),
    params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…"), ("document" = String, Path, pattern = "^(?!(doc|kb|cal)_[0-7][0-9a-hjkmnp-tv-z]{25}$)[a-z0-9_-]{1,64}$", description = "The document's slug", example = "returns"), UploadQuery),
    request_body(
        description = "At most 10 MiB", content(
            (FileBytes = "text/markdown"), (FileBytes = "text/plain"), (FileBytes = "text/html"), (FileBytes = "application/pdf"),
            (FileForm = "multipart/form-data"),
        ),
    ),
    responses((status = 200, description = "The document", body = Success<DocumentOut>), ConfigErrors<(UnreadableFile, FileBody, TooManyDocuments, NotFound<KnowledgeBaseId>, ManagedByFile)>),
)]
pub(super) async fn put(
    State(state): State<AppState>,
    Upload(account, _permit): Upload,
    NestedPathParams(base, slug): NestedPathParams,
    QueryParams(query, _): QueryParams<UploadQuery>,
    headers: HeaderMap,
    body: FileBody,
) -> Answer<DocumentOut> {
    let source = match body {
        FormOr::Form(form) => {
            query.refuse()?;
            document_forms::document(form, slug)?
        }
        FormOr::Body(Body(file, _)) => upload(&slug, query, &headers, file)?,
    };
    let document = documents::put(&state.services, &account, &base, source, OnConflict::Replace).await?;
    Ok(Success::new("Document stored successfully.", DocumentOut::from(document)))
}

/// List documents.
///
/// Returns the documents of a knowledge base, the oldest first.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "listDocuments",
    security(("bearer" = ["read"])), params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…"), PageParams::<DocumentCursor>),
    responses((status = 200, description = "A page", body = Success<Page<DocumentOut>>), ReadErrors<(InvalidQuery, NotFound<KnowledgeBaseId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(base): PathParam,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<DocumentOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = DocumentCursor::decode(query.cursor.as_deref())?;
    let page = documents::list(&state.services, &account, &base, after, limit).await?;
    let page = Page::new(page.items, page.next.map(DocumentCursor::encode));
    Ok(Success::new("Documents retrieved successfully.", page))
}

/// Read a document.
///
/// The response has its text.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "readDocument",
    security(("bearer" = ["read"])),
    params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…"), ("document" = String, Path, pattern = "^[a-z0-9_-]{1,64}$", description = "doc_…, or the document's slug")),
    responses((status = 200, description = "The document", body = Success<DocumentWithTextOut>), ReadErrors<(NotFound<KnowledgeBaseId>, NotFound<DocumentId>)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(base, name): NestedPathParams,
) -> Answer<DocumentWithTextOut> {
    let found = documents::find(&state.services, &account, &base, &name).await?;
    Ok(Success::new("Document retrieved successfully.", DocumentWithTextOut::from(found)))
}

/// Delete a document.
#[utoipa::path(
    delete, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "deleteDocument",
    security(("bearer" = ["config"])),
    params(("id" = inline(KnowledgeBaseId), Path, description = "kb_…"), ("document" = String, Path, pattern = "^[a-z0-9_-]{1,64}$", description = "doc_…, or the document's slug")),
    responses((status = 200, description = "The document as it was", body = Success<DocumentOut>), ConfigErrors<(NoInput, NotFound<KnowledgeBaseId>, NotFound<DocumentId>, ManagedByFile)>),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    NestedPathParams(base, name): NestedPathParams,
    _: NoInput,
) -> Answer<DocumentOut> {
    let document = documents::delete(&state.services, &account, &base, &name).await?;
    Ok(Success::new("Document deleted successfully.", DocumentOut::from(document)))
}
