//! A message from a back end: acknowledged at once, answered later.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::validate;
use super::wire::MessageIn;
use crate::http::envelope::EnqueueOptions;
use crate::http::error::ApiError;
use crate::http::extract::{Body, MessagesWrite, idempotency_key, idempotency_request};
use crate::http::openapi::{Acknowledgement, SendErrors};
use crate::http::state::AppState;
use crate::service::accept_message;

/// What an `Idempotency-Key`'s fingerprint is made of, beside the body.
const ROUTE: &str = "POST /v1/messages";

/// Send a message into an existing or new conversation.
#[utoipa::path(
    post, path = "/messages", tag = "platform", operation_id = "sendMessage", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; the answer is kept for 24 h")),
    request_body = MessageIn,
    responses((status = 200, description = "The message is stored", body = Acknowledgement, example = json!({
        "status": "success",
        "message": "Message sent successfully.",
        "data": {
            "conversation_id": "con_9s2kd81",
            "message": {
                "id": "msg_45kd01", "sender_id": "usr_82hd92", "sender_type": "user",
                "text": "Can you summarize my last 5 calls?",
                "metadata": {"channel": "web", "locale": "en-US"},
                "created_at": "2026-03-15T14:22:11Z"
            },
            "auto_reply_enqueued": true
        }
    })), SendErrors),
)]
pub(super) async fn send(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite<EnqueueOptions>,
    headers: HeaderMap,
    Body(body, _): Body<EnqueueOptions>,
) -> Result<Response, ApiError<EnqueueOptions>> {
    let mut message = validate::message(validate::fields::<MessageIn>(&body)?)?;
    message.idempotency = idempotency_request(idempotency_key(&headers)?, ROUTE, &body);
    Ok(accept_message::accept(&state.services, &account, message).await?.into_response())
}
