//! Tools: looked into, and tried.

mod validate;
pub(in crate::http) mod wire;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{RefreshedToolOut, TestCallIn, TestCallOut, ToolOut, ToolSummaryOut};
use super::cursor::{decode_tool_cursor, limit, tool_cursor};
use super::wire::{PageOut, PageQuery};
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{ConfigWrite, OptionalBody, PathParam, QueryParams, Read};
use crate::http::openapi::{
    CallErrors, ConfigErrors, OneTool, QueryErrors, ReadErrors, RefreshErrors, RefreshedTool, TestedCall,
    ToolNotFound, ToolPage,
};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::tools;

type ApiResult = Result<Response, ApiError<Platform>>;

/// The routes of tools.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(test))
        .routes(routes!(refresh))
}

/// List tools, the oldest first.
#[utoipa::path(
    get, path = "/tools", tag = "platform", operation_id = "listTools",
    security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = ToolPage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = decode_tool_cursor(query.cursor.as_deref())?;
    let page = tools::list(&state.services, &account, after, limit).await?;
    let items: Vec<ToolSummaryOut> = page.items.iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(tool_cursor) };
    Ok(success("Tools retrieved successfully.", &data))
}

/// Read a tool. No secret of it is shown.
#[utoipa::path(
    get, path = "/tools/{id}", tag = "platform", operation_id = "readTool",
    security(("bearer" = [])), params(("id" = String, Path, description = "tool_…")),
    responses((status = 200, description = "The tool", body = OneTool), ReadErrors, ToolNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let tool = tools::find(&state.services, &account, &name).await?;
    Ok(success("Tool retrieved successfully.", &ToolOut::from(tool)))
}

/// Try a tool: one real call, as a reply would make it. Tools that book or cancel are refused.
#[utoipa::path(
    post, path = "/tools/{id}/test", tag = "platform", operation_id = "testTool",
    security(("bearer" = [])), params(("id" = String, Path, description = "tool_…")),
    request_body = Option<TestCallIn>,
    responses((status = 200, description = "What it came to, a failure too", body = TestedCall), ConfigErrors, CallErrors, ToolNotFound),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
    OptionalBody(body, _): OptionalBody<Platform>,
) -> ApiResult {
    let request = validate::test_call(&body)?;
    let tested = tools::test_call::call(&state.services, &account, &name, request).await?;
    Ok(success("Tool called.", &TestCallOut::from(tested)))
}

/// Ask an MCP server anew which tools it has. Assistants have them for the next message.
#[utoipa::path(
    post, path = "/tools/{id}/refresh", tag = "platform", operation_id = "refreshTool",
    security(("bearer" = [])), params(("id" = String, Path, description = "tool_…")),
    responses((status = 200, description = "The tool as it now is", body = RefreshedTool), ConfigErrors, RefreshErrors, ToolNotFound),
)]
pub(super) async fn refresh(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let refreshed = tools::refresh::refresh(&state.services, &account, &name).await?;
    Ok(success("Tool refreshed successfully.", &RefreshedToolOut::from(refreshed)))
}
