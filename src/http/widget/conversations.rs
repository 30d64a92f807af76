//! A visitor's conversation: begun, and read again after a reload.

use axum::extract::State;
use axum::response::Response;

use super::guard::Visitor;
use super::validate;
use super::wire::{ConversationIn, ConversationOut, FirstMessage, HistoryQuery, VisitorView};
use crate::domain::error::Error;
use crate::domain::render::raw;
use crate::http::envelope::Widget;
use crate::http::error::ApiError;
use crate::http::extract::{Body, PathParam, QueryParams};
use crate::http::openapi::{BeginErrors, HistoryErrors};
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::read_conversation::{self, HistoryRequest};

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
    let input = validate::conversation(&body)?;
    let request = CreateConversation {
        assistant: input.assistant,
        kind: input.kind,
        variables: input.variables,
        metadata: None,
        external_identifier: None,
        check_balance: true,
        account: visitor.account,
        origin: visitor.origin,
        idempotency: None,
    };
    let created = create_conversation::create_for_widget(&state.services, request).await?;
    let missing_link = || Error::internal("the conversation has no widget link");
    let first = created.first_message;
    let history = first.map(|first| FirstMessage { role: "assistant", content: first.text });
    Ok(widget_success(&ConversationOut {
        status: true,
        conversation_id: created.link.ok_or_else(missing_link)?,
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
    PathParam(name): PathParam,
    visitor: Visitor,
    QueryParams(query, _): QueryParams<HistoryQuery, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let request = HistoryRequest {
        limit: validate::limit(&query)?,
        link: validate::link(&name)?,
        account: visitor.account,
        origin: visitor.origin,
        after: query.after,
    };
    let (conversation, messages) = read_conversation::read_history(&state.services, request).await?;
    Ok(widget_success(&VisitorView {
        status: true,
        history: messages.into_iter().map(Into::into).collect(),
        variables: raw(&conversation.visitor_variables),
        ai_enabled: conversation.ai_enabled,
    }))
}
