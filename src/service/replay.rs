//! Sends the stored response of an idempotency key again. The writer finds the key; its response may be large, so it is read here.

use super::await_reply::unknown;
use super::{ApiResponse, Services};
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::TurnId;
use crate::store::{Conn, idempotency};

/// The stored response of a key, with its `warning`.
///
/// # Errors
/// [`Error::Unavailable`] with an unknown outcome, so that the client repeats the request with the same key: the database is
/// unavailable, or the key has just expired.
pub(super) async fn replay(
    services: &Services,
    key: &IdempotencyKey,
    turn: Option<TurnId>,
    warning: Option<String>,
) -> Result<ApiResponse, Error> {
    let find = async |conn: Conn<'_>| idempotency::find_answer(conn, key).await;
    let found = services.db.read(key.workspace, find).await;
    let expired = || Error::Unavailable { outcome_unknown: true, source: None };
    let answer = found.map_err(|error| unknown(error.into()))?.ok_or_else(expired)?;
    Ok(ApiResponse { answer, turn, is_replay: true, warning })
}
