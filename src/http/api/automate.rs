//! The switch of a conversation's AI, for a person who takes over.

use axum::extract::State;
use axum::response::Response;

use super::validate;
use super::wire::AiStatus;
use crate::domain::account::Account;
use crate::domain::batch::Change;
use crate::http::answer::widget_success;
use crate::http::envelope::Automate;
use crate::http::error::ApiError;
use crate::http::extract::{MessagesWrite, Named};
use crate::http::openapi::SwitchErrors;
use crate::http::state::AppState;
use crate::service::change_conversation::change_by_link;

/// Switch a conversation's AI off: replies in the making are dropped and refunded.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/disable-ai", tag = "widget", operation_id = "disableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = [])),
    responses((status = 200, description = "Switched off", body = AiStatus), SwitchErrors),
)]
pub(super) async fn disable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Automate>,
    Named(name): Named,
) -> Result<Response, ApiError<Automate>> {
    switch(&state, &account, &name, false).await
}

/// Switch a conversation's AI on again.
#[utoipa::path(
    post, path = "/automate/conversations/{uuid}/enable-ai", tag = "widget", operation_id = "enableAi",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID")), security(("bearer" = [])),
    responses((status = 200, description = "Switched on", body = AiStatus), SwitchErrors),
)]
pub(super) async fn enable(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Automate>,
    Named(name): Named,
) -> Result<Response, ApiError<Automate>> {
    switch(&state, &account, &name, true).await
}

async fn switch(
    state: &AppState,
    account: &Account,
    name: &str,
    ai_enabled: bool,
) -> Result<Response, ApiError<Automate>> {
    let change = Change { ai_enabled: Some(ai_enabled), ..Change::default() };
    let conversation = change_by_link(&state.services, account, validate::link(name)?, change).await?;
    Ok(widget_success(&AiStatus { status: true, ai_enabled: conversation.ai_enabled }))
}
