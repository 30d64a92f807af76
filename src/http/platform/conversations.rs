//! Conversations, for whoever runs them: made, found, read, changed, and linked to the widget door.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::cursor::{SequenceCursor, conversation_cursor, decode_conversation_cursor, limit};
use super::validate;
use super::wire::{
    ConversationIn, ConversationUpdateIn, ConversationsQuery, LinkOut, PageOut, PageQuery, message_items,
};
use crate::domain::render::ConversationOut;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{
    Body, MessagesWrite, PathParam, QueryParams, Read, idempotency_key, idempotency_request,
};
use crate::http::openapi::{
    ConversationNotFound, ConversationPage, CreateErrors, CreatedConversation, MessagePage, OneConversation,
    OneLink, QueryErrors, ReadErrors, UpdateErrors, WriteErrors,
};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::update_conversation;
use crate::service::{list_conversations, read_conversation, renew_link};

type ApiResult = Result<Response, ApiError<Platform>>;

/// What an `Idempotency-Key`'s fingerprint is made of, beside the body.
const ROUTE: &str = "POST /v1/conversations";

/// Make a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "platform", operation_id = "createConversation",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; the answer is kept for 24 h")),
    request_body = ConversationIn,
    responses((status = 200, description = "The conversation", body = CreatedConversation), CreateErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    headers: HeaderMap,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let input = validate::conversation(validate::fields::<ConversationIn>(&body)?)?;
    let request = CreateConversation {
        assistant: input.assistant,
        kind: input.kind,
        variables: input.variables,
        metadata: input.metadata,
        external_identifier: input.external_identifier,
        check_balance: false,
        account: Some(account),
        origin: None,
        idempotency: idempotency_request(idempotency_key(&headers)?, ROUTE, &body),
    };
    Ok(create_conversation::create(&state.services, request).await?.into_response())
}

/// List conversations, the newest first.
#[utoipa::path(
    get, path = "/conversations", tag = "platform", operation_id = "listConversations",
    security(("bearer" = [])), params(ConversationsQuery),
    responses((status = 200, description = "A page", body = ConversationPage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<ConversationsQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = validate::conversation_filter(&query)?;
    filter.after = decode_conversation_cursor(query.cursor.as_deref())?;
    let page = list_conversations::list(&state.services, &account, filter, limit).await?;
    let items: Vec<ConversationOut<'_>> = page.items.iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(conversation_cursor) };
    Ok(success("Conversations retrieved successfully.", &data))
}

/// Read a conversation.
#[utoipa::path(
    get, path = "/conversations/{id}", tag = "platform", operation_id = "readConversation",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")),
    responses((status = 200, description = "The conversation", body = OneConversation), ReadErrors, ConversationNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let conversation = read_conversation::find(&state.services, &account, &name).await?;
    Ok(success("Conversation retrieved successfully.", &ConversationOut::from(&conversation)))
}

/// Change a conversation: switch its AI, describe it, end it. All that is sent is done at once.
#[utoipa::path(
    patch, path = "/conversations/{id}", tag = "platform", operation_id = "changeConversation",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")), request_body = ConversationUpdateIn,
    responses((status = 200, description = "The conversation as it now is", body = OneConversation), UpdateErrors),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    PathParam(name): PathParam,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let update = validate::update(&body)?;
    let conversation = update_conversation::update(&state.services, &account, &name, update).await?;
    Ok(success("Conversation updated successfully.", &ConversationOut::from(&conversation)))
}

/// List a conversation's messages, the oldest first.
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "platform", operation_id = "listMessages",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…"), PageQuery),
    responses((status = 200, description = "A page", body = MessagePage), ReadErrors, QueryErrors, ConversationNotFound),
)]
pub(super) async fn list_messages(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = SequenceCursor::Messages.decode(query.cursor.as_deref())?;
    let page = read_conversation::list_messages(&state.services, &account, &name, after, limit).await?;
    let next_cursor = page.next.map(|position| SequenceCursor::Messages.encode(position));
    let data = PageOut { items: message_items(&page.items), next_cursor };
    Ok(success("Messages retrieved successfully.", &data))
}

/// Give a conversation a new UUID at the widget door; the one that it had is then unknown.
#[utoipa::path(
    post, path = "/conversations/{id}/widget_link", tag = "platform", operation_id = "renewWidgetLink",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")),
    responses((status = 200, description = "The new UUID", body = OneLink), WriteErrors, ConversationNotFound),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let widget_uuid = renew_link::renew(&state.services, &account, &name).await?;
    Ok(success("Widget link renewed successfully.", &LinkOut { widget_uuid }))
}
