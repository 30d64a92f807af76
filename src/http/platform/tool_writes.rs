//! Tools: created, changed and archived.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::tool_bodies::{ToolIn, ToolUpdateIn};
use super::tools::{TooManyTestCalls, ToolOut};
use super::webhook_endpoints::SecretsNotConfigured;
use super::{Answer, ConfigErrors, ConfigurationOptions};
use crate::domain::error::Error;
use crate::domain::ids::ToolId;
use crate::domain::render::Success;
use crate::http::describe::{NotFound, error_sets};
use crate::http::extract::{ConfigWrite, NoInput, ObjectBody, PathParam};
use crate::http::state::AppState;
use crate::service::tools::write::{self, WrittenTool};

/// A body with the fields of a tool.
type ToolBody = ObjectBody<ConfigurationOptions>;

error_sets! {
    /// A tool cannot be written as it is.
    ToolConflict {
        "The slug is taken, the tool is used or managed by a workspace file, its MCP server cannot be used, or the workspace has too many" => Error::Conflict(
            "The tool 'orders' is used by the assistants 'front-desk'.".to_owned(),
        ),
    }
}

/// A tool after a change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WrittenTool)]
pub(super) struct WrittenToolOut {
    tool: ToolOut,
    /// Tools of an MCP server that were left out, with the reasons.
    #[schema(example = json!([]))]
    warnings: Vec<String>,
}

impl From<WrittenTool> for WrittenToolOut {
    fn from(written: WrittenTool) -> Self {
        Self { tool: written.tool.into(), warnings: written.warnings }
    }
}

/// Create a tool.
///
/// The body has the fields of `[[tools]]` in a workspace file, with the values of secrets. An MCP server is asked for its tools.
#[utoipa::path(
    post, path = "/tools", tag = "platform", operation_id = "createTool",
    security(("bearer" = ["config"])), request_body = ToolIn,
    responses((status = 200, description = "The tool", body = Success<WrittenToolOut>), ConfigErrors<(ToolBody, ToolConflict, SecretsNotConfigured, TooManyTestCalls)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    ObjectBody(fields, _): ToolBody,
) -> Answer<WrittenToolOut> {
    let created = write::create(&state.services, &account, fields).await?;
    Ok(Success::new("Tool created successfully.", WrittenToolOut::from(created)))
}

/// Update a tool.
///
/// The assistants that use it get new versions, which answer from the next message.
#[utoipa::path(
    patch, path = "/tools/{id}", tag = "platform", operation_id = "updateTool",
    security(("bearer" = ["config"])), params(("id" = inline(ToolId), Path, description = "tool_…")), request_body = ToolUpdateIn,
    responses((status = 200, description = "The tool after the change", body = Success<WrittenToolOut>), ConfigErrors<(ToolBody, NotFound<ToolId>, ToolConflict, SecretsNotConfigured, TooManyTestCalls)>),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    ObjectBody(fields, _): ToolBody,
) -> Answer<WrittenToolOut> {
    let updated = write::update(&state.services, &account, &name, &fields).await?;
    Ok(Success::new("Tool updated successfully.", WrittenToolOut::from(updated)))
}

/// Archive a tool.
///
/// It must not be used by an assistant. Its slug can be used again.
#[utoipa::path(
    delete, path = "/tools/{id}", tag = "platform", operation_id = "archiveTool",
    security(("bearer" = ["config"])), params(("id" = inline(ToolId), Path, description = "tool_…")),
    responses((status = 200, description = "The tool as it was", body = Success<ToolOut>), ConfigErrors<(NoInput, NotFound<ToolId>, ToolConflict)>),
)]
pub(super) async fn archive(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<ToolOut> {
    let archived = write::archive(&state.services, &account, &name).await?;
    Ok(Success::new("Tool archived successfully.", ToolOut::from(archived)))
}
