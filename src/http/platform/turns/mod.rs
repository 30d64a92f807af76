//! A turn and its trace: how a reply came about, or why none did.

pub(in crate::http) mod wire;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{MessageTraceOut, TracedTurnOut};
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{PathParam, Read};
use crate::http::openapi::{MessageNotFound, OneTrace, OneTurn, ReadErrors, TurnNotFound};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::read_turn;

type ApiResult = Result<Response, ApiError<Platform>>;

/// The routes of turns.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(read)).routes(routes!(read_of_message))
}

/// Read a turn with its trace: the model's rounds and the calls of each, so far.
#[utoipa::path(
    get, path = "/turns/{id}", tag = "platform", operation_id = "readTurn",
    security(("bearer" = [])), params(("id" = String, Path, description = "trn_…")),
    responses((status = 200, description = "The turn", body = OneTurn), ReadErrors, TurnNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let trace = read_turn::read(&state.services, &account, &name).await?;
    Ok(success("Turn retrieved successfully.", &TracedTurnOut::from(trace)))
}

/// Read the trace of a message: of the turn that answers it or, for a reply, that gave it.
#[utoipa::path(
    get, path = "/messages/{id}/trace", tag = "platform", operation_id = "readTrace",
    security(("bearer" = [])), params(("id" = String, Path, description = "msg_…")),
    responses((status = 200, description = "The trace", body = OneTrace), ReadErrors, MessageNotFound),
)]
pub(super) async fn read_of_message(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let trace = read_turn::read_of_message(&state.services, &account, &name).await?;
    Ok(success("Trace retrieved successfully.", &MessageTraceOut::from(trace)))
}
