//! Conversations, for whoever runs them: made, found, read, changed, and linked to the widget door.

use axum::extract::State;
use axum::response::Response;

use super::cursor::{Numbered, conversation_cursor, conversation_place, limit};
use super::validate;
use super::wire::{
    ChangeIn, ConversationIn, ConversationsQuery, CreatedOut, LinkOut, PageOut, PageQuery, message_items,
};
use crate::domain::rendered::{ConversationOut, MessageOut};
use crate::http::answer::success;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Body, MessagesWrite, Named, Read, Search};
use crate::http::openapi::{
    ConversationPage, CreatedConversation, MessagePage, OneConversation, OneLink, PlatformErrors,
};
use crate::http::state::AppState;
use crate::service::change_conversation::change as change_conversation;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::{list_conversations, read_conversation, renew_link as links};

type Answer = Result<Response, ApiError<Platform>>;

/// Make a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "platform", operation_id = "createConversation",
    security(("bearer" = [])), request_body = ConversationIn,
    responses((status = 200, description = "The conversation", body = CreatedConversation), PlatformErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
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
    };
    let (widget_uuid, created) = create_conversation::create(&state.services, request).await?;
    let data = CreatedOut {
        conversation: (&created.conversation).into(),
        widget_uuid,
        first_message: created.first_message.as_ref().map(MessageOut::from),
    };
    Ok(success("Conversation created successfully.", &data))
}

/// List conversations, the newest first.
#[utoipa::path(
    get, path = "/conversations", tag = "platform", operation_id = "listConversations",
    security(("bearer" = [])), params(ConversationsQuery),
    responses((status = 200, description = "A page", body = ConversationPage), PlatformErrors),
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
    responses((status = 200, description = "The conversation", body = OneConversation), PlatformErrors),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(name): Named,
) -> Answer {
    let conversation = read_conversation::find(&state.services, &account, &name).await?;
    Ok(success("Conversation retrieved successfully.", &ConversationOut::from(&conversation)))
}

/// Change a conversation: switch its AI, or end it.
#[utoipa::path(
    patch, path = "/conversations/{id}", tag = "platform", operation_id = "changeConversation",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…")), request_body = ChangeIn,
    responses((status = 200, description = "The conversation as it now is", body = OneConversation), PlatformErrors),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    Named(name): Named,
    Body(body, _): Body<Platform>,
) -> Answer {
    let changes = validate::changes(validate::fields::<ChangeIn>(&body)?)?;
    let mut conversation = read_conversation::find(&state.services, &account, &name).await?;
    for change in changes {
        conversation = change_conversation(&state.services, &account, &name, change).await?;
    }
    Ok(success("Conversation updated successfully.", &ConversationOut::from(&conversation)))
}

/// List a conversation's messages, the oldest first.
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "platform", operation_id = "listMessages",
    security(("bearer" = [])), params(("id" = String, Path, description = "con_…"), PageQuery),
    responses((status = 200, description = "A page", body = MessagePage), PlatformErrors),
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
    responses((status = 200, description = "The new UUID", body = OneLink), PlatformErrors),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<Platform>,
    Named(name): Named,
) -> Answer {
    let widget_uuid = links::renew(&state.services, &account, &name).await?;
    Ok(success("Widget link renewed successfully.", &LinkOut { widget_uuid }))
}
