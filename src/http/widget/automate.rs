//! The switch of a conversation's AI, for a person who takes over.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::link::link;
use crate::domain::account::Account;
use crate::domain::conversation::ConversationPatch;
use crate::domain::error::Error;
use crate::domain::ids::ConversationId;
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable};
use crate::http::envelope::{ApiError, RouteOptions, Widget};
use crate::http::error::Problem;
use crate::http::extract::{MessagesWrite, NoInput, PathParam};
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::update_conversation::update_by_link;

/// The routes of the switch, which word an invalid key themselves.
#[derive(Debug)]
pub(in crate::http) enum AutomateOptions {}

impl RouteOptions for AutomateOptions {
    type Envelope = Widget;
    const MAX_BODY: usize = Widget::MAX_BODY;
    const REQUIRES_JSON: bool = Widget::REQUIRES_JSON;

    fn error_body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Unauthenticated) => json!({"error": "Unauthorized"}).to_string(),
            Problem::Domain(_) | Problem::Transport(_) => Widget::error_body(problem),
        }
    }
}

type SwitchErrors = Errors<
    AutomateOptions,
    (
        MessagesWrite<AutomateOptions>,
        NoInput<AutomateOptions>,
        NotFound<ConversationId>,
        Unavailable,
        Overloaded,
    ),
>;

/// The state of a conversation's AI.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AiStatus {
    status: bool,
    ai_enabled: bool,
}

/// Disable a conversation's AI.
///
/// Pending replies are discarded and refunded.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/disable-ai", tag = "widget", operation_id = "disableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = ["messages:write"])),
    responses((status = 200, description = "Disabled", body = AiStatus, example = json!({"status": true, "ai_enabled": false})), SwitchErrors),
)]
pub(super) async fn disable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<AutomateOptions>,
    PathParam(name): PathParam,
    _: NoInput<AutomateOptions>,
) -> Result<Response, ApiError<AutomateOptions>> {
    set_ai_enabled(&state, &account, &name, false).await
}

/// Enable a conversation's AI.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/enable-ai", tag = "widget", operation_id = "enableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = ["messages:write"])),
    responses((status = 200, description = "Enabled", body = AiStatus, example = json!({"status": true, "ai_enabled": true})), SwitchErrors),
)]
pub(super) async fn enable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<AutomateOptions>,
    PathParam(name): PathParam,
    _: NoInput<AutomateOptions>,
) -> Result<Response, ApiError<AutomateOptions>> {
    set_ai_enabled(&state, &account, &name, true).await
}

async fn set_ai_enabled(
    state: &AppState,
    account: &Account,
    name: &str,
    ai_enabled: bool,
) -> Result<Response, ApiError<AutomateOptions>> {
    let update = ConversationPatch { ai_enabled: Some(ai_enabled), ..ConversationPatch::default() };
    let conversation = update_by_link(&state.services, account, link(name)?, update).await?;
    Ok(widget_success(&AiStatus { status: true, ai_enabled: conversation.ai_enabled }))
}
