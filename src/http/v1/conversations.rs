//! Conversations, for whoever runs them: made, found, read, changed, and linked to the widget door.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::cursor::{Numbered, conversation_cursor, conversation_place, limit};
use super::validate;
use super::wire::{ChangeIn, ConversationIn, ConversationsQuery, LinkOut, PageOut, PageQuery, message_items};
use crate::domain::rendered::ConversationOut;
use crate::http::answer::success;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Body, MessagesWrite, Named, Read, Search, idempotency_key, presented};
use crate::http::openapi::{
    ChangeErrors, ConversationPage, CreateErrors, CreatedConversation, MessagePage, NoConversation,
    OneConversation, OneLink, QueryErrors, ReadErrors, WriteErrors,
};
use crate::http::state::AppState;
use crate::service::change_conversation::change as change_conversation;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::{list_conversations, read_conversation, renew_link as links};

type Answer = Result<Response, ApiError<Platform>>;

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
) -> Answer {
    let asked = validate::conversation(validate::fields::<ConversationIn>(&body)?)?;
    let request = CreateConversation {
        assistant: asked.assistant,
        kind: asked.kind,
        variables: asked.variables,
        metadata: asked.metadata,
        external_identifier: asked.external_identifier,
        check_balance: false,
        account: Some(account),
        origin: None,
        idempotency: presented(idempotency_key(&headers)?, ROUTE, &body),
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
    Search(query, _): Search<ConversationsQuery, Platform>,
) -> Answer {
    let limit = limit(query.limit.as_deref())?;
    let mut wanted = validate::wanted(&query)?;
    wanted.after = conversation_place(query.cursor.as_deref())?;
    let page = list_conversations::list(&state.services, &account, wanted, limit).await?;
    let items: Vec<ConversationOut<'_>> = page.items.iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(conversation_cursor) };
    Ok(success("Conversations retrieved successfully.", &data))
}

/// Read a conversation.
#[utoipa::path(
    get, path = "/conversations/{id}", tag = "platform", operation_id = "readConversation",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")),
    responses((status = 200, description = "The conversation", body = OneConversation), ReadErrors, NoConversation),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(name): Named,
) -> Answer {
    let conversation = read_conversation::find(&state.services, &account, &name).await?;
    Ok(success("Conversation retrieved successfully.", &ConversationOut::from(&conversation)))
}

/// Change a conversation: switch its AI, describe it, end it. All that is sent is done at once.
#[utoipa::path(
    patch, path = "/conversations/{id}", tag = "platform", operation_id = "changeConversation",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")), request_body = ChangeIn,
    responses((status = 200, description = "The conversation as it now is", body = OneConversation), ChangeErrors),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    Named(name): Named,
    Body(body, _): Body<Platform>,
) -> Answer {
    let change = validate::change(&body)?;
    let conversation = change_conversation(&state.services, &account, &name, change).await?;
    Ok(success("Conversation updated successfully.", &ConversationOut::from(&conversation)))
}

/// List a conversation's messages, the oldest first.
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "platform", operation_id = "listMessages",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…"), PageQuery),
    responses((status = 200, description = "A page", body = MessagePage), ReadErrors, QueryErrors, NoConversation),
)]
pub(super) async fn list_messages(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(name): Named,
    Search(query, _): Search<PageQuery, Platform>,
) -> Answer {
    let limit = limit(query.limit.as_deref())?;
    let after = Numbered::Messages.place(query.cursor.as_deref())?;
    let page = read_conversation::list_messages(&state.services, &account, &name, after, limit).await?;
    let next_cursor = page.next.map(|position| Numbered::Messages.cursor(position));
    let data = PageOut { items: message_items(&page.items), next_cursor };
    Ok(success("Messages retrieved successfully.", &data))
}

/// Give a conversation a new UUID at the widget door; the one that it had is then unknown.
#[utoipa::path(
    post, path = "/conversations/{id}/widget_link", tag = "platform", operation_id = "renewWidgetLink",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")),
    responses((status = 200, description = "The new UUID", body = OneLink), WriteErrors, NoConversation),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    Named(name): Named,
) -> Answer {
    let widget_uuid = links::renew(&state.services, &account, &name).await?;
    Ok(success("Widget link renewed successfully.", &LinkOut { widget_uuid }))
}
