//! A visitor's message, and the reply to it.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::guard::Visitor;
use super::validate;
use super::wire::{MessageIn, WidgetReply};
use crate::http::envelope::ReplyOptions;
use crate::http::error::ApiError;
use crate::http::extract::{Body, PathParam, idempotency_key, idempotency_request};
use crate::http::openapi::ReplyErrors;
use crate::http::state::AppState;
use crate::service::send_message::{self, SendMessage};

/// What an `Idempotency-Key`'s fingerprint is made of, beside the body.
const ROUTE: &str = "POST /api/conversations/{uuid}/messages";

/// Send a message and wait for the reply.
#[utoipa::path(
    post, path = "/conversations/{uuid}/messages", tag = "widget", operation_id = "sendWidgetMessage",
    params(
        ("uuid" = Uuid, Path, description = "The conversation's UUID"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; the answer is kept for 24 h"),
    ),
    request_body = MessageIn,
    responses((status = 200, description = "The reply", body = WidgetReply, example = json!({
        "status": true,
        "message": "I've checked our calendar and found several available slots for next week.",
        "function_calls": [{
            "name": "check_calendar_availability",
            "arguments": {"start_date": "2025-01-13", "end_date": "2025-01-17"},
            "result": {"available_slots": ["2025-01-13 14:00", "2025-01-15 10:00", "2025-01-17 15:00"]}
        }]
    })), ReplyErrors),
)]
pub(super) async fn send(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    visitor: Visitor,
    headers: HeaderMap,
    Body(body, _): Body<ReplyOptions>,
) -> Result<Response, ApiError<ReplyOptions>> {
    let text = validate::message(&body)?;
    let key = idempotency_key(&headers)?;
    let message = SendMessage {
        link: validate::link(&name)?,
        text,
        account: visitor.account,
        origin: visitor.origin,
        idempotency: idempotency_request(key, ROUTE, &body),
        arrived: visitor.arrived,
    };
    Ok(send_message::send(&state.services, message).await?.into_response())
}
