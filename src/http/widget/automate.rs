//! The switch of a conversation's AI, for a person who takes over.

use axum::extract::State;
use axum::response::Response;

use super::validate;
use super::wire::AiStatus;
use crate::domain::account::Account;
use crate::domain::conversation::ConversationPatch;
use crate::http::envelope::AutomateOptions;
use crate::http::error::ApiError;
use crate::http::extract::{MessagesWrite, PathParam};
use crate::http::openapi::SwitchErrors;
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::update_conversation::update_by_link;

/// Switch a conversation's AI off: replies in the making are dropped and refunded.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/disable-ai", tag = "widget", operation_id = "disableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = [])),
    responses((status = 200, description = "Switched off", body = AiStatus), SwitchErrors),
)]
pub(super) async fn disable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<AutomateOptions>,
    PathParam(name): PathParam,
) -> Result<Response, ApiError<AutomateOptions>> {
    set_ai_enabled(&state, &account, &name, false).await
}

/// Switch a conversation's AI on again.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/enable-ai", tag = "widget", operation_id = "enableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = [])),
    responses((status = 200, description = "Switched on", body = AiStatus), SwitchErrors),
)]
pub(super) async fn enable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<AutomateOptions>,
    PathParam(name): PathParam,
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
    let conversation = update_by_link(&state.services, account, validate::link(name)?, update).await?;
    Ok(widget_success(&AiStatus { status: true, ai_enabled: conversation.ai_enabled }))
}
