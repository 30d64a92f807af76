//! The audit log of all workspaces.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method};

use super::{ReadErrors, WorkspaceFilter};
use crate::domain::render::Success;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Operator, QueryParams};
use crate::http::platform::audit::{AuditEntryOut, AuditQuery, answer};
use crate::http::platform::list::InvalidQuery;
use crate::http::response::Page;
use crate::http::state::AppState;

/// Read the audit log.
///
/// Of all workspaces, also of deleted ones, and of operators; the newest entry comes first. With `Accept: application/x-ndjson` the response
/// is all matching entries, each on a line.
#[utoipa::path(
    get, path = "/audit", tag = "operator", operation_id = "operatorListAuditEntries", security(("operator" = [])),
    params(AuditQuery, WorkspaceFilter),
    responses(
        (status = 200, description = "A page; all entries with `Accept: application/x-ndjson`", content(
            (Success<Page<AuditEntryOut>> = "application/json"), (String = "application/x-ndjson"),
        )),
        ReadErrors<InvalidQuery>,
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Operator(operator): Operator,
    QueryParams(query, _): QueryParams<AuditQuery>,
    QueryParams(filter, _): QueryParams<WorkspaceFilter>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    Ok(answer(&state, query, filter.workspace()?, &operator.actor, (&method, &headers)).await?)
}
