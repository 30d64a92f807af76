//! A turn with its trace: how a reply was made, or why there is none.

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::{Error, ResourceKind};
use crate::domain::ids::{MessageId, TurnId, WorkspaceId};
use crate::domain::trace::Trace;
use crate::domain::turn::TurnRef;
use crate::store::turns::journal;
use crate::store::{Conn, StoreError, conversations, messages, turns};

/// The turn of the account's workspace with this id, as it was sent. The turns of a deleted conversation are unknown.
pub async fn read(services: &Services, account: &Account, name: &str) -> Result<Trace, Error> {
    let not_found = || Error::not_found(ResourceKind::Turn, name);
    let id: TurnId = name.parse().map_err(|_| not_found())?;
    let read = async |conn: Conn<'_>| find(conn, account.workspace, id).await;
    services.db.read(read).await?.ok_or_else(not_found)
}

/// The turn that answers a message or produced this reply, by the id of the message as it was sent; `None` if the message
/// requested no reply.
pub async fn read_of_message(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<Option<Trace>, Error> {
    let not_found = || Error::not_found(ResourceKind::Message, name);
    let id: MessageId = name.parse().map_err(|_| not_found())?;
    let workspace = account.workspace;
    let read = async |mut conn: Conn<'_>| {
        let Some(message) = messages::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
        let conversation_id = message.conversation;
        let conversation = conversations::find(conn.reborrow(), workspace, conversation_id).await?;
        let trace = match message.turn {
            Some(turn) => find(conn, workspace, turn).await?,
            None => None,
        };
        Ok(conversation.map(|_| trace))
    };
    services.db.read(read).await?.ok_or_else(not_found)
}

async fn find(mut conn: Conn<'_>, workspace: WorkspaceId, id: TurnId) -> Result<Option<Trace>, StoreError> {
    let Some(turn) = turns::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
    let conversation = conversations::find(conn.reborrow(), workspace, turn.conversation).await?;
    let turn_ref = TurnRef { workspace, conversation: turn.conversation, turn: turn.id };
    let rows = journal::list(conn, turn_ref).await?;
    Ok(conversation.map(|_| Trace::new(turn, &rows)))
}
