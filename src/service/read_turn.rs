//! A turn with its journal: how a reply came about, or why none did.

use super::Services;
use crate::domain::account::Account;
use crate::domain::batch::{JournalRow, TurnRef};
use crate::domain::error::{Error, Thing};
use crate::domain::ids::TurnId;
use crate::domain::turn::Turn;
use crate::store::{Conn, conversations, journal, turns};

/// The turn of the account's workspace that has this id, as it was sent, and its journal in order.
/// The turns of a conversation that was deleted are unknown with it.
pub async fn read(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<(Turn, Vec<JournalRow>), Error> {
    let not_found = || Error::not_found(Thing::Turn, name);
    let id: TurnId = name.parse().map_err(|_| not_found())?;
    let read = async |mut conn: Conn<'_>| {
        let Some(turn) = turns::find(conn.reborrow(), account.workspace, id).await? else { return Ok(None) };
        let conversation = conversations::find(conn.reborrow(), turn.workspace, turn.conversation).await?;
        let place = TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id };
        let rows = journal::list(conn, place).await?;
        Ok(conversation.map(|_| (turn, rows)))
    };
    services.db.reading(read).await?.ok_or_else(not_found)
}
