//! The documents of a knowledge base.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::validate;
use super::wire::{DocumentIn, DocumentOut, DocumentWithTextOut, UploadQuery};
use crate::http::envelope::{Platform, TextUploadOptions, UploadOptions};
use crate::http::error::ApiError;
use crate::http::extract::{Body, ConfigWrite, NestedPathParams, PathParam, QueryParams, Read, UploadPermit};
use crate::http::openapi::{
    ConfigErrors, DocumentErrors, DocumentNotFound, DocumentPage, KnowledgeBaseNotFound, ManagedByFile,
    OneDocument, OneDocumentWithText, QueryErrors, ReadErrors, UploadErrors,
};
use crate::http::platform::cursor::{decode_document_cursor, document_cursor, limit};
use crate::http::platform::wire::{PageOut, PageQuery};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::knowledge::documents::{self, OnConflict};

type ApiResult = Result<Response, ApiError<Platform>>;

/// Add a document to a knowledge base.
#[utoipa::path(
    post, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "createDocument",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")), request_body = DocumentIn,
    responses((status = 200, description = "The document", body = OneDocument), ConfigErrors, DocumentErrors, KnowledgeBaseNotFound, ManagedByFile),
)]
pub(in crate::http::platform) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(base): PathParam,
    _permit: UploadPermit,
    Body(body, _): Body<TextUploadOptions>,
) -> ApiResult {
    let source = validate::document(&body)?;
    let created = documents::put(&state.services, &account, &base, source, OnConflict::Refuse).await?;
    Ok(success("Document created successfully.", &DocumentOut::from(created)))
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
    responses((status = 200, description = "The document", body = OneDocument), ConfigErrors, UploadErrors, KnowledgeBaseNotFound, ManagedByFile),
)]
pub(in crate::http::platform) async fn put(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NestedPathParams(base, slug): NestedPathParams,
    QueryParams(query, _): QueryParams<UploadQuery, Platform>,
    headers: HeaderMap,
    _permit: UploadPermit,
    Body(body, _): Body<UploadOptions>,
) -> ApiResult {
    let source = validate::upload(&slug, query, &headers, body)?;
    let document = documents::put(&state.services, &account, &base, source, OnConflict::Replace).await?;
    Ok(success("Document stored successfully.", &DocumentOut::from(document)))
}

/// List the documents of a knowledge base, the oldest first.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}/documents", tag = "platform", operation_id = "listDocuments",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…"), PageQuery),
    responses((status = 200, description = "A page", body = DocumentPage), ReadErrors, QueryErrors, KnowledgeBaseNotFound),
)]
pub(in crate::http::platform) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(base): PathParam,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = decode_document_cursor(query.cursor.as_deref())?;
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
    responses((status = 200, description = "The document", body = OneDocumentWithText), ReadErrors, KnowledgeBaseNotFound, DocumentNotFound),
)]
pub(in crate::http::platform) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    NestedPathParams(base, name): NestedPathParams,
) -> ApiResult {
    let found = documents::find(&state.services, &account, &base, &name).await?;
    Ok(success("Document retrieved successfully.", &DocumentWithTextOut::from(found)))
}

/// Remove a document.
#[utoipa::path(
    delete, path = "/knowledge_bases/{id}/documents/{document}", tag = "platform", operation_id = "deleteDocument",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "kb_…"), ("document" = String, Path, description = "doc_…, or the document's slug")),
    responses((status = 200, description = "The document as it was", body = OneDocument), ConfigErrors, KnowledgeBaseNotFound, DocumentNotFound, ManagedByFile),
)]
pub(in crate::http::platform) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NestedPathParams(base, name): NestedPathParams,
) -> ApiResult {
    let document = documents::delete(&state.services, &account, &base, &name).await?;
    Ok(success("Document deleted successfully.", &DocumentOut::from(document)))
}
