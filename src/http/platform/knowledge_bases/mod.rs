//! Knowledge bases: set up, filled, and tried.

mod documents;
mod validate;
pub(in crate::http) mod wire;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{BaseIn, BaseOut, BaseUpdateIn, HitOut, SearchIn, SearchResultsOut};
use super::cursor::{base_cursor, decode_base_cursor, limit};
use super::wire::{PageOut, PageQuery};
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Body, ConfigWrite, PathParam, QueryParams, Read};
use crate::http::openapi::{
    BaseErrors, BasePage, ConfigErrors, FoundPassages, KnowledgeBaseNotFound, ManagedByFile, OneBase,
    QueryErrors, ReadErrors, SearchErrors,
};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::knowledge;

type ApiResult = Result<Response, ApiError<Platform>>;

/// The routes of knowledge bases.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, update, delete))
        .routes(routes!(search))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::read, documents::put, documents::delete))
}

/// Make a knowledge base.
#[utoipa::path(
    post, path = "/knowledge_bases", tag = "platform", operation_id = "createKnowledgeBase",
    security(("bearer" = [])), request_body = BaseIn,
    responses((status = 200, description = "The knowledge base", body = OneBase), ConfigErrors, BaseErrors, ManagedByFile),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let created = knowledge::create(&state.services, &account, validate::base(&body)?).await?;
    Ok(success("Knowledge base created successfully.", &BaseOut::from(created)))
}

/// List knowledge bases, the oldest first.
#[utoipa::path(
    get, path = "/knowledge_bases", tag = "platform", operation_id = "listKnowledgeBases",
    security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = BasePage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = decode_base_cursor(query.cursor.as_deref())?;
    let page = knowledge::list(&state.services, &account, after, limit).await?;
    let items: Vec<BaseOut> = page.items.into_iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(base_cursor) };
    Ok(success("Knowledge bases retrieved successfully.", &data))
}

/// Read a knowledge base.
#[utoipa::path(
    get, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "readKnowledgeBase",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")),
    responses((status = 200, description = "The knowledge base", body = OneBase), ReadErrors, KnowledgeBaseNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let base = knowledge::read(&state.services, &account, &name).await?;
    Ok(success("Knowledge base retrieved successfully.", &BaseOut::from(base)))
}

/// Rename a knowledge base.
#[utoipa::path(
    patch, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "changeKnowledgeBase",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")), request_body = BaseUpdateIn,
    responses((status = 200, description = "The knowledge base as it now is", body = OneBase), ConfigErrors, BaseErrors, KnowledgeBaseNotFound, ManagedByFile),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let base = knowledge::rename(&state.services, &account, &name, validate::update(&body)?).await?;
    Ok(success("Knowledge base updated successfully.", &BaseOut::from(base)))
}

/// Delete a knowledge base with its documents.
#[utoipa::path(
    delete, path = "/knowledge_bases/{id}", tag = "platform", operation_id = "deleteKnowledgeBase",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")),
    responses((status = 200, description = "The knowledge base as it was", body = OneBase), ConfigErrors, KnowledgeBaseNotFound, ManagedByFile),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let base = knowledge::delete(&state.services, &account, &name).await?;
    Ok(success("Knowledge base deleted successfully.", &BaseOut::from(base)))
}

/// Search a knowledge base, as an assistant's tool does: to try what it finds.
#[utoipa::path(
    post, path = "/knowledge_bases/{id}/search", tag = "platform", operation_id = "searchKnowledgeBase",
    security(("bearer" = [])), params(("id" = String, Path, description = "kb_…")), request_body = SearchIn,
    responses((status = 200, description = "The passages that fit best", body = FoundPassages), ReadErrors, SearchErrors, KnowledgeBaseNotFound),
)]
pub(super) async fn search(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let request = validate::search(&body)?;
    let hits = knowledge::search(&state.services, &account, &name, &request).await?;
    let items: Vec<HitOut> = hits.into_iter().map(Into::into).collect();
    Ok(success("Knowledge base searched successfully.", &SearchResultsOut { items }))
}
