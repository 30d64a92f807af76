//! A turn: how a reply came about, or why none did.

use axum::extract::State;
use axum::response::Response;

use super::wire::TurnOut;
use crate::http::answer::success;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Named, Read};
use crate::http::openapi::{NoTurn, OneTurn, ReadErrors};
use crate::http::state::AppState;
use crate::service::read_turn;

/// Read a turn with its journal.
#[utoipa::path(
    get, path = "/turns/{id}", tag = "platform", operation_id = "readTurn",
    security(("bearer" = [])), params(("id" = String, Path, description = "trn_…")),
    responses((status = 200, description = "The turn", body = OneTurn), ReadErrors, NoTurn),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(name): Named,
) -> Result<Response, ApiError<Platform>> {
    let turn = read_turn::read(&state.services, &account, &name).await?;
    Ok(success("Turn retrieved successfully.", &TurnOut::from(turn)))
}
