//! A visitor's message and the reply to it.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use utoipa::openapi::schema::Schema;

use super::guard::{FromVisitor, GuardedChange};
use super::identity::IdentityHeader;
use super::link::link;
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::ConversationId;
use crate::domain::render::{WidgetReply, widget_error, widget_error_text};
use crate::http::describe::{Errors, IdempotencyErrors, Internal, NotFound, Overloaded, error_sets};
use crate::http::envelope::{ApiError, RouteOptions, Widget};
use crate::http::error::Problem;
use crate::http::extract::{Input, PathParam, idempotency_key, idempotency_request, wants_event_stream};
use crate::http::fields::{AnyText, FieldType, Text, Violation, request};
use crate::http::state::AppState;
use crate::http::ui_message_stream::{self, FRAMES};
use crate::service::send_message::{self, SendMessage};
use crate::service::visitors::Visitor;

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /api/conversations/{uuid}/messages";
/// The longest message, in Unicode scalar values.
pub(super) const MAX_CHARS: usize = 2_000;

/// The route, whose contract answers every failure with 400.
#[derive(Debug)]
pub(in crate::http) enum ReplyOptions {}

impl RouteOptions for ReplyOptions {
    type Envelope = Widget;
    const MAX_BODY: usize = Widget::MAX_BODY;
    const REQUIRES_JSON: bool = Widget::REQUIRES_JSON;
    const IGNORES_UNKNOWN_NAMES: bool = true;

    fn error_status(problem: &Problem) -> StatusCode {
        match problem {
            Problem::Domain(Error::Internal { .. }) => StatusCode::BAD_REQUEST,
            Problem::Domain(_) | Problem::Transport(_) => Widget::error_status(problem),
        }
    }

    fn error_body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Internal { .. }) => {
                widget_error(&widget_error_text(&Error::Processing(Failure::InternalError)))
            }
            Problem::Domain(_) | Problem::Transport(_) => Widget::error_body(problem),
        }
    }
}

/// The text of a message. It is trimmed before its length is checked.
#[derive(Debug)]
pub(super) enum TrimmedText {}

impl FieldType for TrimmedText {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let Some(text) = AnyText::check(raw)? else { return Ok(None) };
        let text = text.trim();
        if text.chars().count() > MAX_CHARS {
            return Err(Violation::TooLong { max_chars: MAX_CHARS });
        }
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn schema() -> Schema {
        Text::<MAX_CHARS>::schema()
    }
}

request! {
    /// A visitor's message.
    pub(super) struct MessageIn as WidgetMessage tolerant {
        /// The message. Leading and trailing white space is removed.
        message: TrimmedText = "I would like to schedule a demo for next week",
    }
}

error_sets! {
    /// The reply to a message.
    ReplyFailed {
        "The message could not be processed; nothing was charged" => Error::Processing(Failure::Timeout),
        "The conversation is busy; nothing was stored; see Retry-After" => Error::Processing(Failure::ConversationBusy),
        "The balance does not cover a reply; nothing was stored" => Error::InsufficientBalance,
        "A request with this Idempotency-Key is in progress; see Retry-After" => Error::IdempotencyKeyInFlight {
            retry_after: Duration::from_secs(1),
        },
    }
}

/// The errors of a request `I` that sends a message.
pub(super) type SendErrors<O, I> = Errors<
    O,
    (GuardedChange, I, IdempotencyErrors, NotFound<ConversationId>, ReplyFailed, Overloaded, Internal),
>;

type ReplyErrors = SendErrors<ReplyOptions, Input<MessageIn, ReplyOptions>>;

/// Send a visitor's message.
///
/// The response is the reply. With `Accept: text/event-stream` it comes as it is made, in the UI message stream of the AI SDK; if
/// there will be no reply, and for errors, the response is JSON. Unknown fields and query parameters are ignored, with
/// `Rejoinder-Warning`.
#[utoipa::path(
    post, path = "/conversations/{uuid}/messages", tag = "widget", operation_id = "sendWidgetMessage",
    security((), ("bearer" = ["messages:write"])),
    params(
        ("uuid" = Uuid, Path, description = "The conversation's UUID"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters; the response is stored for 24 hours"),
        IdentityHeader,
    ),
    request_body = MessageIn,
    responses((status = 200, description = "The reply; with `Accept: text/event-stream`, as it is made", headers(
        ("Rejoinder-Turn" = String, description = "The id of the turn that generated the reply"),
        ("Idempotent-Replayed" = String, description = "`true` if this is the stored response of the same Idempotency-Key"),
        ("Rejoinder-Warning" = String, description = "What was sent and has no effect, such as `body.mesage`: at most 8 names, percent-encoded, then `+` and the number of the others"),
    ), content((WidgetReply = "application/json", example = json!({
        "status": true,
        "message": "I've checked our calendar and found several available slots for next week.",
        "function_calls": [{
            "name": "check_calendar_availability",
            "arguments": {"start_date": "2025-01-13", "end_date": "2025-01-17"},
            "result": {"available_slots": ["2025-01-13 14:00", "2025-01-15 10:00", "2025-01-17 15:00"]}
        }]
    })), (String = "text/event-stream", example = json!(FRAMES)))), ReplyErrors),
)]
pub(super) async fn send(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
    headers: HeaderMap,
    input: Input<MessageIn, ReplyOptions>,
) -> Result<Response, ApiError<ReplyOptions>> {
    let warning = input.warning.clone();
    let sent = reply(&state, &name, visitor, &headers, input).await;
    sent.map_err(|error| ApiError::from(error).with_warning(warning))
}

async fn reply(
    state: &AppState,
    name: &str,
    visitor: Visitor,
    headers: &HeaderMap,
    input: Input<MessageIn, ReplyOptions>,
) -> Result<Response, Error> {
    let key = idempotency_key(headers)?;
    let message = SendMessage {
        link: link(name)?,
        text: input.value.message,
        visitor,
        idempotency: idempotency_request(key, ROUTE, &input.bytes),
        warning: input.warning,
    };
    if wants_event_stream(headers) {
        let link = Some(message.link);
        let reply = send_message::stream(&state.services, message).await?;
        return Ok(ui_message_stream::respond(reply, link));
    }
    Ok(send_message::send(&state.services, message).await?.into_response())
}
