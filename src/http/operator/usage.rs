//! The usage of all workspaces, or of one.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ReadErrors;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::render::Success;
use crate::domain::schema::{DayOrQuarterText, TimeZoneName};
use crate::http::describe::Overloaded;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Operator, QueryParams};
use crate::http::platform::usage::{
    InvalidUsageQuery, UsageCursor, UsageOut, UsageParams, answer, bucket_schema, groups_schema,
};
use crate::http::response::Page;
use crate::http::state::AppState;

/// The query of usage, of one workspace or of all.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OperatorUsageParams {
    /// The start: a date in the time zone, or a time on a quarter of an hour.
    #[param(inline, value_type = DayOrQuarterText, required = true, example = "2026-03-01")]
    start: Option<String>,
    /// The end, which is not included; now by default.
    #[param(inline, value_type = Option<DayOrQuarterText>, example = "2026-04-01")]
    end: Option<String>,
    /// The length of the buckets; `day` by default. With `none` there is one bucket.
    #[param(schema_with = bucket_schema)]
    bucket: Option<String>,
    /// What to divide the figures by, separated by commas: `workspace`, `assistant`, `model`, `key`.
    #[param(schema_with = groups_schema, example = "workspace")]
    group_by: Option<String>,
    /// The time zone of dates and buckets; UTC by default.
    #[param(inline, value_type = Option<TimeZoneName>, example = "Europe/Berlin")]
    timezone: Option<String>,
    /// Only the usage of this workspace. Without it, the last seconds may be missing.
    #[param(inline, value_type = Option<WorkspaceId>)]
    workspace_id: Option<String>,
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<UsageCursor>)]
    cursor: Option<String>,
}

/// Read the usage.
///
/// That of all workspaces, or of one. The figures are those that a workspace reads with `GET /v1/usage`.
#[utoipa::path(
    get, path = "/usage", tag = "operator", operation_id = "operatorReadUsage", security(("operator" = [])),
    params(OperatorUsageParams),
    responses((status = 200, description = "A page; the figures as CSV with `Accept: text/csv`", content(
        (Success<Page<UsageOut>> = "application/json"), (String = "text/csv"),
    )), ReadErrors<(Overloaded, InvalidUsageQuery)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    _operator: Operator,
    QueryParams(params, _): QueryParams<OperatorUsageParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    let OperatorUsageParams { start, end, bucket, group_by, timezone, workspace_id, limit, cursor } = params;
    let workspace = workspace_id.map(|id| id.parse::<WorkspaceId>()).transpose();
    let malformed =
        || Error::invalid("workspace_id", "Field 'workspace_id' must be an id of the form wsp_….");
    let workspace = workspace.map_err(|_| malformed())?;
    let params = UsageParams { start, end, bucket, group_by, timezone, limit, cursor };
    answer(&state, workspace, &params, &headers).await
}
