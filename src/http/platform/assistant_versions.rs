//! The versions of assistants: listed, read, compared and restored.

use std::borrow::Cow;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::assistants::{AssistantConflict, WrittenAssistantOut, with_fields};
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::assistant::{Assistant, AssistantVersion, NumberedVersion, version_not_found};
use crate::domain::error::Error;
use crate::domain::ids::AssistantId;
use crate::domain::render::Success;
use crate::http::describe::{NotFound, error_sets};
use crate::http::extract::{ConfigWrite, NestedPathParams, NoInput, PathParam, QueryParams, Read};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::assistants::versions::{self, VersionDiff};

type VersionCursor = Cursor<i64, 'v'>;

error_sets! {
    /// The assistant has no such version.
    VersionNotFound {
        "Version not found" => version_not_found("7"),
    }

    /// A version cannot be restored as it is.
    RestoreConflict {
        "A tool of the version is archived" => Error::Conflict(
            "Version 3 cannot be restored. Field 'tools[0]': there is no tool \"orders\".".to_owned(),
        ),
    }
}

/// The query of a comparison.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// The number of the version to compare with; by default the one before.
    #[param(value_type = Option<u32>, minimum = 1)]
    with: Option<String>,
}

/// A version in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AssistantVersionSummary)]
pub(super) struct VersionSummaryOut {
    /// Its number, counted from 1.
    #[schema(example = 3)]
    version: i64,
    /// Whether it is the current one.
    is_current: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
}

/// A version of an assistant.
#[derive(Debug, Serialize)]
pub(super) struct VersionOut {
    #[serde(flatten)]
    summary: VersionSummaryOut,
    #[serde(flatten)]
    fields: AssistantVersion<String>,
}

impl PartialSchema for VersionOut {
    fn schema() -> RefOr<Schema> {
        with_fields::<VersionSummaryOut>("A version of an assistant. It never changes.")
    }
}

impl ToSchema for VersionOut {
    fn name() -> Cow<'static, str> {
        "AssistantVersion".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AssistantVersion::<String>::schemas(schemas);
    }
}

impl From<(Assistant, NumberedVersion)> for VersionOut {
    fn from((assistant, found): (Assistant, NumberedVersion)) -> Self {
        let summary = VersionSummaryOut {
            version: found.number,
            is_current: found.number == assistant.current_version,
            created_at: found.created_at.to_string(),
        };
        Self { summary, fields: found.version.source() }
    }
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AssistantVersionDiff)]
pub(super) struct VersionDiffOut {
    #[schema(example = 3)]
    version: i64,
    /// The version that it is compared with. Absent for the first one without another: all its fields are in `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 2)]
    with: Option<i64>,
    /// The fields that differ, as `with` has them.
    #[schema(value_type = std::collections::BTreeMap<String, Value>, example = json!({"name": "Front desk"}))]
    before: Map<String, Value>,
    /// The fields that differ, as `version` has them.
    #[schema(value_type = std::collections::BTreeMap<String, Value>, example = json!({"name": "Reception"}))]
    after: Map<String, Value>,
    /// The slugs of tools that both have, with different definitions.
    #[schema(example = json!(["orders"]))]
    changed_tools: Vec<String>,
}

impl From<VersionDiff> for VersionDiffOut {
    fn from(diff: VersionDiff) -> Self {
        let VersionDiff { version, with, before, after, changed_tools } = diff;
        Self { version, with, before, after, changed_tools }
    }
}

/// List an assistant's versions.
///
/// The newest comes first.
#[utoipa::path(
    get, path = "/assistants/{id}/versions", tag = "platform", operation_id = "listAssistantVersions",
    security(("bearer" = ["read"])), params(("id" = inline(AssistantId), Path, description = "ast_…"), PageParams::<VersionCursor>),
    responses((status = 200, description = "A page", body = Success<Page<VersionSummaryOut>>), ReadErrors<(InvalidQuery, NotFound<AssistantId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<VersionSummaryOut>> {
    let limit = limit(query.limit.as_deref())?;
    let before = VersionCursor::decode(query.cursor.as_deref())?;
    let (current, page) = versions::list(&state.services, &account, &name, before, limit).await?;
    let summaries = page.items.into_iter().map(|(version, created_at)| VersionSummaryOut {
        version,
        is_current: version == current,
        created_at: created_at.to_string(),
    });
    let summaries = Page::new(summaries, page.next.map(VersionCursor::encode));
    Ok(Success::new("Versions retrieved successfully.", summaries))
}

/// Read an assistant's version.
#[utoipa::path(
    get, path = "/assistants/{id}/versions/{version}", tag = "platform", operation_id = "readAssistantVersion",
    security(("bearer" = ["read"])),
    params(("id" = inline(AssistantId), Path, description = "ast_…"), ("version" = i64, Path, minimum = 1, description = "The number of the version")),
    responses((status = 200, description = "The version", body = Success<VersionOut>), ReadErrors<(NotFound<AssistantId>, VersionNotFound)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(name, version): NestedPathParams,
) -> Answer<VersionOut> {
    let found = versions::read(&state.services, &account, &name, &version).await?;
    Ok(Success::new("Version retrieved successfully.", VersionOut::from(found)))
}

/// Compare two versions.
///
/// Shows the fields that differ, by default from the version before.
#[utoipa::path(
    get, path = "/assistants/{id}/versions/{version}/diff", tag = "platform", operation_id = "compareAssistantVersions",
    security(("bearer" = ["read"])),
    params(("id" = inline(AssistantId), Path, description = "ast_…"), ("version" = i64, Path, minimum = 1, description = "The number of the version"), DiffQuery),
    responses((status = 200, description = "What differs", body = Success<VersionDiffOut>), ReadErrors<(InvalidQuery, NotFound<AssistantId>, VersionNotFound)>),
)]
pub(super) async fn diff(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(name, version): NestedPathParams,
    QueryParams(query, _): QueryParams<DiffQuery>,
) -> Answer<VersionDiffOut> {
    let with = query.with.as_deref();
    let diff = versions::diff(&state.services, &account, &name, &version, with).await?;
    Ok(Success::new("Versions compared successfully.", VersionDiffOut::from(diff)))
}

/// Restore a version.
///
/// Makes a new version with the content of an old one, and with its tools as they are now. An archived assistant is reactivated.
#[utoipa::path(
    post, path = "/assistants/{id}/versions/{version}/restore", tag = "platform", operation_id = "restoreAssistantVersion",
    security(("bearer" = ["config"])),
    params(("id" = inline(AssistantId), Path, description = "ast_…"), ("version" = i64, Path, minimum = 1, description = "The number of the version")),
    responses((status = 200, description = "The assistant after the change", body = Success<WrittenAssistantOut>), ConfigErrors<(NoInput, NotFound<AssistantId>, VersionNotFound, AssistantConflict, RestoreConflict)>),
)]
pub(super) async fn restore(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    NestedPathParams(name, version): NestedPathParams,
    _: NoInput,
) -> Answer<WrittenAssistantOut> {
    let restored = versions::restore(&state.services, &account, &name, &version).await?;
    Ok(Success::new("Version restored successfully.", WrittenAssistantOut::from(restored)))
}
