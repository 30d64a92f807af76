//! A turn is cancelled, or run again after it failed.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use super::turns::TurnOut;
use crate::domain::error::Error;
use crate::domain::ids::TurnId;
use crate::domain::render::Success;
use crate::http::describe::{Errors, IdempotencyErrors, NotFound, Overloaded, WriteUnavailable, error_sets};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{MessagesWrite, NoInput, PathParam, idempotency_key, idempotency_request};
use crate::http::response::IDEMPOTENT_REPLAYED;
use crate::http::state::AppState;
use crate::service::{cancel_turn, rerun_turn};

type CancelErrors =
    Errors<Platform, (MessagesWrite, NoInput, NotFound<TurnId>, Overloaded, WriteUnavailable)>;

/// Cancel a turn.
///
/// Text that was shown becomes the reply; otherwise the turn is discarded and refunded. A tool call that was sent is waited for.
#[utoipa::path(
    post, path = "/turns/{id}/cancel", tag = "platform", operation_id = "cancelTurn",
    security(("bearer" = ["messages:write"])), params(("id" = inline(TurnId), Path, description = "trn_…")),
    responses((status = 200, description = "The turn", body = Success<CancelledTurnOut>), CancelErrors),
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<CancelledTurnOut> {
    let (turn, cancelled) = cancel_turn::cancel(&state.services, &account, &name).await?;
    Ok(Success::new("Turn processed successfully.", CancelledTurnOut { cancelled, turn: turn.into() }))
}

/// A turn after a request to cancel it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelledTurn)]
pub(super) struct CancelledTurnOut {
    /// Whether this or an earlier request cancels it; false if it had ended.
    cancelled: bool,
    turn: TurnOut,
}

error_sets! {
    /// The turn cannot be run again.
    NotRetriable {
        "The turn has not failed, or was retried already, or the conversation has ended, or its AI is switched off" => Error::Conflict(
            "Only a failed turn can be retried; this one is completed.".to_owned(),
        ),
        "The balance does not cover the price" => Error::InsufficientBalance,
    }
}

type RetryErrors = Errors<
    Platform,
    (MessagesWrite, NoInput, IdempotencyErrors, NotFound<TurnId>, NotRetriable, Overloaded, WriteUnavailable),
>;

/// Retry a failed turn.
///
/// A new turn of the same message is made and charged. It waits for the open turns of its conversation. The model gets the messages up to
/// that message. A turn can be retried once; if the new turn fails, retry that one.
#[utoipa::path(
    post, path = "/turns/{id}/retry", tag = "platform", operation_id = "retryTurn",
    security(("bearer" = ["messages:write"])),
    params(
        ("id" = inline(TurnId), Path, description = "trn_…"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters. For 24 hours, the same key returns the same turn, as it is then"),
    ),
    responses((status = 200, description = "The new turn", body = Success<TurnOut>, headers(
        ("Idempotent-Replayed" = String, description = "`true` if an earlier request with the same Idempotency-Key made the turn"),
    )), RetryErrors),
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    headers: HeaderMap,
    _: NoInput,
) -> Result<Response, ApiError<Platform>> {
    let idempotency = idempotency_request(idempotency_key(&headers)?, "POST /v1/turns", name.as_bytes());
    let (turn, is_replay) = rerun_turn::rerun(&state.services, &account, &name, idempotency).await?;
    let mut response = Success::new("Turn retried successfully.", TurnOut::from(turn)).into_response();
    if is_replay {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
