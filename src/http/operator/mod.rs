//! The operator's API: workspaces, their keys and credit, the audit log and the processes. Its keys belong to no workspace.

mod audit;
mod keys;
mod processes;
mod usage;
mod workspace_fields;
mod workspaces;

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::describe::{Errors, Overloaded, Unavailable, WriteUnavailable};
use super::envelope::{ApiError, Platform};
use super::extract::Operator;
use super::fields::Violation;
use super::ignored_key::warn_of_ignored_key;
use super::query;
use super::state::AppState;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::render::Success;

/// A successful response with this data, or an error.
type Answer<T> = Result<Success<T>, ApiError<Platform>>;

/// The errors of a read, with those of `S`.
type ReadErrors<S> = Errors<Platform, (Operator, Unavailable, S)>;

/// The errors of a change, with those of `S`.
type WriteErrors<S> = Errors<Platform, (Operator, Overloaded, WriteUnavailable, S)>;

/// The part of a query that selects one workspace, which may have been deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WorkspaceFilter {
    /// Only of this workspace.
    #[param(inline, value_type = Option<WorkspaceId>)]
    workspace_id: Option<String>,
}

impl WorkspaceFilter {
    fn workspace(&self) -> Result<Option<WorkspaceId>, Error> {
        let id = self.workspace_id.as_deref().map(str::parse).transpose();
        id.map_err(|_| Violation::rule("must be an id of the form wsp_…").of::<Platform>("workspace_id"))
    }
}

/// The API's routes without their prefix, in the order of the `OpenAPI` document.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    query::refuse_unknown("/operator/v1", all_routes())
}

fn all_routes() -> OpenApiRouter<AppState> {
    let routes = OpenApiRouter::new()
        .routes(routes!(workspaces::list, workspaces::create))
        .routes(routes!(workspaces::read, workspaces::update, workspaces::delete))
        .routes(routes!(workspaces::suspend))
        .routes(routes!(workspaces::resume))
        .routes(routes!(workspaces::credit))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::read, keys::revoke))
        .routes(routes!(keys::roll))
        .routes(routes!(audit::list))
        .routes(routes!(usage::read))
        .routes(routes!(processes::list));
    warn_of_ignored_key("/operator/v1", routes)
}
