//! A visitor's conversation: begun, and read again after a reload.

use axum::extract::State;
use axum::response::Response;

use super::guard::Visitor;
use super::validate;
use super::wire::{ConversationIn, ConversationOut, FirstMessage, HistoryQuery, VisitorView};
use crate::domain::error::Error;
use crate::domain::rendered::raw;
use crate::http::answer::widget_success;
use crate::http::envelope::Widget;
use crate::http::error::ApiError;
use crate::http::extract::{Body, Named, Search};
use crate::http::openapi::{BeginErrors, HistoryErrors};
use crate::http::state::AppState;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::read_conversation::{self, WantedHistory};

/// Begin a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "widget", operation_id = "createWidgetConversation",
    request_body = ConversationIn,
    responses((status = 200, description = "The conversation", body = ConversationOut), BeginErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    visitor: Visitor,
    Body(body, _): Body<Widget>,
) -> Result<Response, ApiError<Widget>> {
    let asked = validate::conversation(&body)?;
    let request = CreateConversation {
        assistant: asked.assistant,
        kind: asked.kind,
        variables: asked.variables,
        metadata: None,
        external_identifier: None,
        check_balance: true,
        account: visitor.account,
        origin: visitor.origin,
        idempotency: None,
    };
    let made = create_conversation::begin(&state.services, request).await?;
    let unlinked = || Error::Unavailable { outcome_unknown: true, source: Some("no widget link".into()) };
    let first = made.first_message;
    let history = first.map(|first| FirstMessage { role: "assistant", content: first.text });
    Ok(widget_success(&ConversationOut {
        status: true,
        conversation_id: made.link.ok_or_else(unlinked)?,
        history: history.into_iter().collect(),
    }))
}

/// Read a conversation's history.
#[utoipa::path(
    get, path = "/conversations/{uuid}", tag = "widget", operation_id = "readWidgetConversation",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID"), HistoryQuery),
    responses((status = 200, description = "The history, the oldest first", body = VisitorView), HistoryErrors),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Named(name): Named,
    visitor: Visitor,
    Search(query, _): Search<HistoryQuery, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let wanted = WantedHistory {
        limit: validate::limit(&query)?,
        link: validate::link(&name)?,
        account: visitor.account,
        origin: visitor.origin,
        after: query.after,
    };
    let (conversation, messages) = read_conversation::read_history(&state.services, wanted).await?;
    Ok(widget_success(&VisitorView {
        status: true,
        history: messages.into_iter().map(Into::into).collect(),
        variables: raw(&conversation.visitor_variables),
        ai_enabled: conversation.ai_enabled,
    }))
}
