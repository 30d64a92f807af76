//! A visitor's rating of a message.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::{FromVisitor, GuardedChange};
use super::identity::IdentityHeader;
use super::link::link;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::message::{Feedback, MAX_COMMENT, Rating};
use crate::http::describe::{Errors, NotFound, Overloaded, WorkspaceSuspended, WriteUnavailable};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::{Input, NestedPathParams, NoInput};
use crate::http::fields::{Choice, Note, Word, request};
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::rate_message::{RatingRequest, rate};
use crate::service::visitors::Visitor;

/// The ratings.
#[derive(Debug)]
pub(super) enum Ratings {}

impl Choice for Ratings {
    type Value = Rating;

    fn words() -> Vec<&'static str> {
        Rating::ALL.iter().map(|rating| rating.as_str()).collect()
    }
}

request! {
    /// A rating of a message.
    pub(super) struct FeedbackIn as NewFeedback {
        /// `up` or `down`.
        rating: Word<Ratings> = "up",
        /// At most 1,000 characters.
        comment: Option<Note<MAX_COMMENT>> = "That answered my question.",
    }
}

/// The rating of a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageFeedback)]
pub(super) struct FeedbackOut {
    status: bool,
    /// Null if it was withdrawn.
    #[schema(required)]
    feedback: Option<Feedback>,
}

type ChangeErrors =
    (NotFound<ConversationId>, NotFound<MessageId>, WorkspaceSuspended, Overloaded, WriteUnavailable);
type RateErrors = Errors<Widget, (GuardedChange, Input<FeedbackIn, Widget>, ChangeErrors)>;
type WithdrawErrors = Errors<Widget, (GuardedChange, NoInput<Widget>, ChangeErrors)>;

/// Rate a message.
///
/// A message of the assistant or of a human agent. A second rating replaces the first one.
#[utoipa::path(
    put, path = "/conversations/{uuid}/messages/{message_id}/feedback", tag = "widget", operation_id = "rateMessage",
    security((), ("bearer" = ["messages:write"])),
    params(
        ("uuid" = Uuid, Path, description = "The conversation's UUID"),
        ("message_id" = inline(MessageId), Path, description = "msg_…"),
        IdentityHeader,
    ),
    request_body = FeedbackIn,
    responses((status = 200, description = "The rating", body = FeedbackOut), RateErrors),
)]
pub(super) async fn put(
    State(state): State<AppState>,
    path: NestedPathParams,
    FromVisitor(visitor): FromVisitor,
    input: Input<FeedbackIn, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let FeedbackIn { rating, comment } = input.value;
    Ok(write(&state, path, visitor, Some(Feedback { rating, comment })).await?)
}

/// Withdraw a message's rating.
#[utoipa::path(
    delete, path = "/conversations/{uuid}/messages/{message_id}/feedback", tag = "widget", operation_id = "withdrawRating",
    security((), ("bearer" = ["messages:write"])),
    params(
        ("uuid" = Uuid, Path, description = "The conversation's UUID"),
        ("message_id" = inline(MessageId), Path, description = "msg_…"),
        IdentityHeader,
    ),
    responses((status = 200, description = "The message has no rating", body = FeedbackOut), WithdrawErrors),
)]
pub(super) async fn withdraw(
    State(state): State<AppState>,
    path: NestedPathParams,
    FromVisitor(visitor): FromVisitor,
    _: NoInput<Widget>,
) -> Result<Response, ApiError<Widget>> {
    Ok(write(&state, path, visitor, None).await?)
}

async fn write(
    state: &AppState,
    NestedPathParams(name, message): NestedPathParams,
    visitor: Visitor,
    feedback: Option<Feedback>,
) -> Result<Response, Error> {
    let request = RatingRequest { link: link(&name)?, visitor, message, feedback: feedback.clone() };
    rate(&state.services, request).await?;
    Ok(widget_success(&FeedbackOut { status: true, feedback }))
}
