//! The usage of all workspaces, or of one.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::{ReadErrors, WorkspaceFilter};
use crate::domain::render::Success;
use crate::http::describe::Overloaded;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Operator, QueryParams};
use crate::http::platform::usage::{InvalidUsageQuery, UsageOut, UsageParams, answer};
use crate::http::response::Page;
use crate::http::state::AppState;

/// Read the usage.
///
/// Returns the usage of all workspaces or of one. Without `workspace_id`, the last seconds may be missing. The figures are those that a workspace reads with `GET /v1/usage`.
#[utoipa::path(
    get, path = "/usage", tag = "operator", operation_id = "operatorReadUsage", security(("operator" = [])),
    params(UsageParams, WorkspaceFilter),
    responses((status = 200, description = "A page; the figures as CSV with `Accept: text/csv`", content(
        (Success<Page<UsageOut>> = "application/json"), (String = "text/csv"),
    )), ReadErrors<(Overloaded, InvalidUsageQuery)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    _operator: Operator,
    QueryParams(params, _): QueryParams<UsageParams>,
    QueryParams(filter, _): QueryParams<WorkspaceFilter>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    answer(&state, filter.workspace()?, &params, &headers).await
}
