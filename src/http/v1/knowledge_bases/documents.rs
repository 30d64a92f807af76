//! The documents of a knowledge base.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::validate;
use super::wire::{DocumentIn, DocumentOut, DocumentWithTextOut, UploadQuery};
use crate::http::answer::success;
use crate::http::envelope::{Platform, TextUpload, Upload};
use crate::http::error::ApiError;
use crate::http::extract::{Body, ConfigWrite, Named, NamedWithin, Read, Search, UploadPlace};
use crate::http::openapi::{
    ConfigErrors, DocumentErrors, DocumentPage, NoBase, NoDocument, OneDocument, OneDocumentWithText,
    QueryErrors, ReadErrors, SetUpByFile, UploadErrors,
};
use crate::http::state::AppState;
use crate::http::v1::cursor::{document_cursor, document_place, limit};
use crate::http::v1::wire::{PageOut, PageQuery};
use crate::service::knowledge::documents::{self, Existing};

type Answer = Result<Response, ApiError<Platform>>;

/// Add a document to a knowledge base.
#[utoipa::path(
    post, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "createDocument",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")), request_body = DocumentIn,
    responses((status = 200, description = "The document", body = OneDocument), ConfigErrors, DocumentErrors, NoBase, SetUpByFile),
)]
pub(in crate::http::v1) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    Named(base): Named,
    _place: UploadPlace,
    Body(body, _): Body<TextUpload>,
) -> Answer {
    let source = validate::document(&body)?;
    let made = documents::put(&state.services, &account, &base, source, Existing::Refuse).await?;
    Ok(success("Document created successfully.", &DocumentOut::from(made)))
}

/// Put a document into a knowledge base, in place of the one with this slug if there is one. The body is the file: Markdown, text, HTML or PDF.
#[utoipa::path(
    put, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "putDocument",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "kb_…"), ("document" = String, Path, description = "The document's slug"), UploadQuery),
    request_body(
        description = "At most 10 MiB", content(
            (Vec<u8> = "text/markdown"), (Vec<u8> = "text/plain"), (Vec<u8> = "text/html"), (Vec<u8> = "application/pdf"),
        ),
    ),
    responses((status = 200, description = "The document", body = OneDocument), ConfigErrors, UploadErrors, NoBase, SetUpByFile),
)]
pub(in crate::http::v1) async fn put(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NamedWithin(base, slug): NamedWithin,
    Search(query, _): Search<UploadQuery, Platform>,
    headers: HeaderMap,
    _place: UploadPlace,
    Body(body, _): Body<Upload>,
) -> Answer {
    let source = validate::upload(&slug, query, &headers, body)?;
    let put = documents::put(&state.services, &account, &base, source, Existing::Replace).await?;
    Ok(success("Document stored successfully.", &DocumentOut::from(put)))
}

/// List the documents of a knowledge base, the oldest first.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "listDocuments",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…"), PageQuery),
    responses((status = 200, description = "A page", body = DocumentPage), ReadErrors, QueryErrors, NoBase),
)]
pub(in crate::http::v1) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(base): Named,
    Search(query, _): Search<PageQuery, Platform>,
) -> Answer {
    let limit = limit(query.limit.as_deref())?;
    let after = document_place(query.cursor.as_deref())?;
    let page = documents::list(&state.services, &account, &base, after, limit).await?;
    let items: Vec<DocumentOut> = page.items.into_iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(document_cursor) };
    Ok(success("Documents retrieved successfully.", &data))
}

/// Read a document, with its text.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "readDocument",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "kb_…"), ("document" = String, Path, description = "doc_…, or the document's slug")),
    responses((status = 200, description = "The document", body = OneDocumentWithText), ReadErrors, NoBase, NoDocument),
)]
pub(in crate::http::v1) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    NamedWithin(base, name): NamedWithin,
) -> Answer {
    let found = documents::find(&state.services, &account, &base, &name).await?;
    Ok(success("Document retrieved successfully.", &DocumentWithTextOut::from(found)))
}

/// Remove a document.
#[utoipa::path(
    delete, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "deleteDocument",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "kb_…"), ("document" = String, Path, description = "doc_…, or the document's slug")),
    responses((status = 200, description = "The document as it was", body = OneDocument), ConfigErrors, NoBase, NoDocument, SetUpByFile),
)]
pub(in crate::http::v1) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NamedWithin(base, name): NamedWithin,
) -> Answer {
    let document = documents::delete(&state.services, &account, &base, &name).await?;
    Ok(success("Document deleted successfully.", &DocumentOut::from(document)))
}
