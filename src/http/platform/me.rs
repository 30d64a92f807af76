//! What a key is, which limits apply to it, and its workspace.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::KeyOut;
use super::{Answer, ConfigErrors};
use crate::config::Rate;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, WorkspaceId};
use crate::domain::render::Success;
use crate::domain::workspace::Workspace;
use crate::http::describe::{Errors, NotFound, Unavailable, error_sets};
use crate::http::envelope::{Platform, RouteOptions as _};
use crate::http::extract::{AnyKey, ConfigWrite, Input};
use crate::http::fields::{Clearable, Id, request};
use crate::http::state::AppState;
use crate::service::workspaces;
use crate::telemetry::VERSION;

type MeErrors = Errors<Platform, (AnyKey, Unavailable)>;

/// The workspace of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnWorkspace)]
pub(super) struct WorkspaceOut {
    #[schema(example = "wsp_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: WorkspaceId,
    #[schema(example = "acme")]
    slug: String,
    #[schema(example = "Acme")]
    name: String,
    /// The assistant of new conversations that name none.
    #[schema(required, example = "ast_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    default_assistant_id: Option<AssistantId>,
    /// Whether the operator has suspended it: then messages and changes are refused, and reading still works.
    suspended: bool,
}

impl From<Workspace> for WorkspaceOut {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id,
            slug: workspace.slug,
            name: workspace.name,
            default_assistant_id: workspace.default_assistant,
            suspended: workspace.suspended_at.is_some(),
        }
    }
}

request! {
    /// Changes to the workspace of a key.
    pub(super) struct WorkspaceUpdateIn as OwnWorkspaceUpdate update {
        /// The assistant of new conversations of the platform API that name none. `null` removes it.
        default_assistant_id: Option<Clearable<Id<AssistantId>>> = "ast_01k9z3x8f5e4r9t2m6q7w8y0ab",
    }
}

error_sets! {
    /// A workspace that a file manages.
    WorkspaceOfFile {
        "A workspace file manages the workspace" => Error::Conflict(
            "The workspace 'acme' is set up by a workspace file: change it there.".to_owned(),
        ),
    }
}

/// A number of requests for each period, with a burst of the same size.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rate)]
pub(super) struct RateOut {
    #[schema(example = 6000)]
    requests: u32,
    #[schema(example = 60)]
    seconds: u64,
}

impl From<Rate> for RateOut {
    fn from(rate: Rate) -> Self {
        Self { requests: rate.count.get(), seconds: rate.period.as_secs() }
    }
}

/// The limits of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyLimits)]
pub(super) struct LimitsOut {
    /// Of requests of the key, in each process. Null without a limit.
    #[schema(required)]
    per_key: Option<RateOut>,
    /// Of requests of all keys of the workspace, in each process. Null without a limit.
    #[schema(required)]
    per_workspace: Option<RateOut>,
    /// Of model tokens in a conversation, by the settings of the workspace. Null without a limit of its own.
    #[schema(required)]
    tokens_per_conversation: Option<i64>,
    /// Of model tokens in a day (UTC), by the settings of the workspace. Null without a limit of its own.
    #[schema(required)]
    tokens_per_day: Option<i64>,
    /// Of a request body, in bytes.
    #[schema(example = 262_144)]
    body_bytes: usize,
}

/// The server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerInfo)]
pub(super) struct ServerOut {
    #[schema(example = "0.1.0")]
    version: &'static str,
    limits: LimitsOut,
}

/// A key, its workspace and its limits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me)]
pub(super) struct MeOut {
    workspace: WorkspaceOut,
    key: KeyOut,
    server: ServerOut,
}

/// Read the current key.
///
/// The key that is sent: its workspace, scopes and limits. Needs no scope.
#[utoipa::path(
    get, path = "/me", tag = "platform", operation_id = "readMe", security(("bearer" = [])),
    responses((status = 200, description = "The key", body = Success<MeOut>), MeErrors),
)]
pub(super) async fn read(State(state): State<AppState>, AnyKey(account): AnyKey) -> Answer<MeOut> {
    let (workspace, key) = workspaces::find_own(&state.services, &account).await?;
    let rates = state.limits.as_ref().map(|limits| limits.key_rates());
    let limits = LimitsOut {
        per_key: rates.map(|(key, _)| key.into()),
        per_workspace: rates.map(|(_, workspace)| workspace.into()),
        tokens_per_conversation: workspace.token_budgets.per_conversation,
        tokens_per_day: workspace.token_budgets.per_day,
        body_bytes: Platform::MAX_BODY,
    };
    let me = MeOut {
        workspace: workspace.into(),
        key: key.into(),
        server: ServerOut { version: VERSION, limits },
    };
    Ok(Success::new("Key retrieved successfully.", me))
}

/// Update the key's workspace.
///
/// Only its default assistant; the operator sets everything else.
#[utoipa::path(
    patch, path = "/workspace", tag = "platform", operation_id = "updateOwnWorkspace",
    security(("bearer" = ["config"])), request_body = WorkspaceUpdateIn,
    responses((status = 200, description = "The workspace after the change", body = Success<WorkspaceOut>), ConfigErrors<(Input<WorkspaceUpdateIn>, NotFound<AssistantId>, WorkspaceOfFile)>),
)]
pub(super) async fn update_workspace(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    Input { value: input, .. }: Input<WorkspaceUpdateIn>,
) -> Answer<WorkspaceOut> {
    let assistant = input.default_assistant_id.flatten().map(|id| AssistantId::parse(&id)).transpose()?;
    let workspace = workspaces::set_default_assistant(&state.services, &account, assistant).await?;
    Ok(Success::new("Workspace updated successfully.", WorkspaceOut::from(workspace)))
}
