//! A visitor's request to stop a reply.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::{FromVisitor, GuardedChange};
use super::identity::IdentityHeader;
use super::link::link;
use crate::domain::ids::ConversationId;
use crate::http::describe::{Errors, NotFound, Overloaded, WriteUnavailable};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::{Input, PathParam};
use crate::http::fields::{AnyText, request};
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::cancel_turn::{self, CancelRequest};

request! {
    /// A reply to cancel.
    pub(super) struct CancelIn as CancelRequest {
        /// The turn, so that a late request cancels no newer one. By default the oldest open one.
        turn_id: Option<AnyText> = "trn_01k9z3x8f5e4r9t2m6q7w8y0ab",
    }
}

/// Whether a reply was cancelled.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelResult)]
pub(super) struct CancelOut {
    status: bool,
    /// False if nothing was running, or the turn belongs to another conversation.
    cancelled: bool,
}

type CancelErrors = Errors<
    Widget,
    (GuardedChange, Input<CancelIn, Widget>, NotFound<ConversationId>, Overloaded, WriteUnavailable),
>;

/// Cancel a reply.
///
/// Text that was shown becomes the reply; otherwise nothing is charged. A tool call that was sent is waited for.
#[utoipa::path(
    post, path = "/conversations/{uuid}/cancel", tag = "widget", operation_id = "cancelWidgetReply",
    security((), ("bearer" = ["messages:write"])),
    params(("uuid" = Uuid, Path, description = "The conversation's UUID"), IdentityHeader),
    request_body = Option<CancelIn>,
    responses((status = 200, description = "Whether a reply was cancelled", body = CancelOut), CancelErrors),
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
    input: Input<CancelIn, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let request = CancelRequest { link: link(&name)?, visitor, turn: input.value.turn_id };
    let cancelled = cancel_turn::cancel_by_link(&state.services, request).await?;
    Ok(widget_success(&CancelOut { status: true, cancelled }))
}
