//! Messages: sent by a back end, which are acknowledged at once and answered in the background, and listed.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::ReadErrors;
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use crate::domain::account::Account;
use crate::domain::conversation::SenderType;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::render::{AcknowledgementOut, MessageOut, Success, platform_error};
use crate::http::describe::{Errors, IdempotencyErrors, NotFound, Overloaded, WriteUnavailable};
use crate::http::envelope::{ApiError, Platform, RouteOptions};
use crate::http::error::Problem;
use crate::http::extract::{
    Input, MessagesWrite, PathParam, QueryParams, Read, idempotency_key, idempotency_request,
    wants_event_stream,
};
use crate::http::fields::{Choice, Flag, Id, JsonText, Name, Text, Word, request};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::http::ui_message_stream::{self, FRAMES};
use crate::service::accept_message::{self, AcceptMessage};
use crate::service::read_conversation;

type MessageCursor = Cursor<i64, 'm'>;

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /v1/messages";
const MAX_METADATA_BYTES: usize = 16 * 1024;

/// `POST /v1/messages`, whose contract words an unavailable database itself.
#[derive(Debug)]
pub(in crate::http) enum EnqueueOptions {}

impl RouteOptions for EnqueueOptions {
    type Envelope = Platform;
    const MAX_BODY: usize = Platform::MAX_BODY;
    const REQUIRES_JSON: bool = Platform::REQUIRES_JSON;
    const IGNORES_UNKNOWN_NAMES: bool = true;

    fn error_body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Unavailable { .. } | Error::Internal { .. }) => {
                platform_error("Failed to enqueue message. Please retry.")
            }
            Problem::Domain(_) | Problem::Transport(_) => Platform::error_body(problem),
        }
    }
}

/// The types of senders that a back end may name.
#[derive(Debug)]
pub(super) enum Senders {}

impl Choice for Senders {
    type Value = SenderType;

    fn words() -> Vec<&'static str> {
        vec!["user", "agent", "system"]
    }
}

request! {
    /// A message to an existing conversation or to a new one.
    pub(super) struct MessageIn as NewMessage tolerant {
        /// By default a conversation is created, if the workspace's settings allow it.
        conversation_id: Option<Id<ConversationId>>,
        sender_id: Name = "usr_82hd92",
        /// `user`, `agent` or `system`.
        sender_type: Word<Senders> = "user",
        text: Text<10_000> = "Can you summarize my last 5 calls?",
        /// A message of the same conversation.
        reply_to_message_id: Option<Id<MessageId>>,
        /// At most 16 KB; returned as it was sent.
        metadata: Option<JsonText<MAX_METADATA_BYTES>> = {"channel": "web", "locale": "en-US"},
        /// Whether the AI replies; true by default.
        auto_reply: Option<Flag> = true,
    }
}

type SendErrors = Errors<
    EnqueueOptions,
    (
        MessagesWrite<EnqueueOptions>,
        Input<MessageIn, EnqueueOptions>,
        IdempotencyErrors,
        NotFound<ConversationId>,
        NotFound<MessageId>,
        Overloaded,
        WriteUnavailable,
    ),
>;

/// Send a message.
///
/// It goes to an existing conversation or to a new one. With `Accept: text/event-stream` the response is the reply as it is made, in
/// the UI message stream of the AI SDK; if there will be no reply, and for errors, it is JSON. Unknown fields and query parameters are
/// ignored, with `Rejoinder-Warning`.
#[utoipa::path(
    post, path = "/messages", tag = "platform", operation_id = "sendMessage", security(("bearer" = ["messages:write"])),
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters; the response is stored for 24 hours")),
    request_body = MessageIn,
    responses((status = 200, description = "The message is stored; or, with `Accept: text/event-stream`, the reply as it is made", headers(
        ("Rejoinder-Turn" = String, description = "The id of the turn that generates the reply, if there will be one"),
        ("Rejoinder-Reason" = String, description = "The reason that there will be no reply"),
        ("Idempotent-Replayed" = String, description = "`true` if this is the stored response of the same Idempotency-Key"),
        ("Rejoinder-Warning" = String, description = "What was sent and has no effect, such as `body.sender`: at most 8 names, percent-encoded, then `+` and the number of the others"),
    ), content((Success<AcknowledgementOut> = "application/json", example = json!({
        "status": "success",
        "message": "Message sent successfully.",
        "data": {
            "conversation_id": "con_01k9z3x8f5e4r9t2m6q7w8y0ab",
            "message": {
                "id": "msg_01k9z3x8f5e4r9t2m6q7w8y0ab", "sender_id": "usr_82hd92", "sender_type": "user",
                "text": "Can you summarize my last 5 calls?",
                "metadata": {"channel": "web", "locale": "en-US"},
                "created_at": "2026-03-15T14:22:11Z"
            },
            "auto_reply_enqueued": true
        }
    })), (String = "text/event-stream", example = json!(FRAMES)))), SendErrors),
)]
pub(super) async fn send(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<EnqueueOptions>,
    headers: HeaderMap,
    input: Input<MessageIn, EnqueueOptions>,
) -> Result<Response, ApiError<EnqueueOptions>> {
    let warning = input.warning.clone();
    accept(&state, &account, &headers, input)
        .await
        .map_err(|error| ApiError::from(error).with_warning(warning))
}

async fn accept(
    state: &AppState,
    account: &Account,
    headers: &HeaderMap,
    input: Input<MessageIn, EnqueueOptions>,
) -> Result<Response, Error> {
    let idempotency = idempotency_request(idempotency_key(headers)?, ROUTE, &input.bytes);
    let MessageIn {
        conversation_id,
        sender_id,
        sender_type,
        text,
        reply_to_message_id,
        metadata,
        auto_reply,
    } = input.value;
    let message = AcceptMessage {
        conversation_id,
        sender_type,
        sender_id,
        text,
        reply_to_message_id,
        metadata,
        auto_reply,
        idempotency,
        warning: input.warning,
    };
    if wants_event_stream(headers) {
        let reply = accept_message::stream(&state.services, account, message).await?;
        return Ok(ui_message_stream::respond(reply, None));
    }
    Ok(accept_message::accept(&state.services, account, message).await?.into_response())
}

/// List a conversation's messages.
///
/// The oldest comes first.
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "platform", operation_id = "listMessages",
    security(("bearer" = ["read"])), params(("id" = inline(ConversationId), Path, description = "con_…"), PageParams::<MessageCursor>),
    responses((status = 200, description = "A page", body = Success<Page<MessageOut>>), ReadErrors<(InvalidQuery, NotFound<ConversationId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(query.limit.as_deref())?;
    let after = MessageCursor::decode(query.cursor.as_deref())?.unwrap_or(0);
    let page = read_conversation::list_messages(&state.services, &account, &name, after, limit).await?;
    let items: Page<MessageOut<'_>> = Page::new(&page.items, page.next.map(MessageCursor::encode));
    Ok(Success::new("Messages retrieved successfully.", items).into_response())
}
