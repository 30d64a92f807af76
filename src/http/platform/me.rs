//! What a key is, and which limits apply to it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use super::keys::KeyOut;
use crate::config::Rate;
use crate::domain::ids::WorkspaceId;
use crate::domain::render::Success;
use crate::http::describe::{Errors, Unavailable};
use crate::http::envelope::{Platform, RouteOptions as _};
use crate::http::extract::AnyKey;
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
    /// Whether the operator has suspended it: then messages and changes are refused, and reading still works.
    suspended: bool,
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
/// The key that is sent: its workspace, scopes and limits. Any valid key may, whatever its scopes.
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
        workspace: WorkspaceOut {
            id: workspace.id,
            slug: workspace.slug,
            name: workspace.name,
            suspended: workspace.suspended_at.is_some(),
        },
        key: key.into(),
        server: ServerOut { version: VERSION, limits },
    };
    Ok(Success::new("Key retrieved successfully.", me))
}
