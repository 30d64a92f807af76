//! A person types in a conversation.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::domain::ids::ConversationId;
use crate::domain::render::Success;
use crate::http::describe::{Errors, NotFound, Overloaded, WriteUnavailable};
use crate::http::envelope::Platform;
use crate::http::extract::{Input, MessagesWrite, OptionalInput, PathParam};
use crate::http::fields::{Flag, request};
use crate::http::state::AppState;
use crate::service::typing;

request! {
    /// Whether a person types.
    pub(super) struct TypingIn as TypingUpdate {
        /// True by default.
        typing: Option<Flag> = true,
    }
}

/// Whether visitors see that a person types.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Typing)]
pub(super) struct TypingOut {
    typing: bool,
}

type TypingErrors = Errors<
    Platform,
    (MessagesWrite, Input<TypingIn>, NotFound<ConversationId>, Overloaded, WriteUnavailable),
>;

/// Show that a person types.
///
/// Visitors who have the conversation open see it at once, for 10 s, or until the next message of an agent. Repeat it every few seconds
/// while the person goes on. It is neither stored for long nor an event.
#[utoipa::path(
    post, path = "/conversations/{id}/typing", tag = "platform", operation_id = "showTyping",
    security(("bearer" = ["messages:write"])), params(("id" = inline(ConversationId), Path, description = "con_…")),
    request_body = Option<TypingIn>,
    responses((status = 200, description = "Visitors see it", body = Success<TypingOut>), TypingErrors),
)]
pub(super) async fn set(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    OptionalInput(input): OptionalInput<TypingIn>,
) -> Answer<TypingOut> {
    let typing = input.typing.unwrap_or(true);
    typing::set(&state.services, &account, &name, typing).await?;
    Ok(Success::new("Typing updated successfully.", TypingOut { typing }))
}
