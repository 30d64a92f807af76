//! A turn with its trace: how a reply was generated, or why there is none.

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{MessageId, ResourceId as _, TurnId, WorkspaceId};
use crate::domain::trace::Trace;
use crate::domain::turn::TurnRef;
use crate::store::turns::journal;
use crate::store::{Conn, ReadLimit, StoreError, conversations, messages, turns};

/// How much of a journal a trace shows. A turn writes less, unless an older version ran it.
const JOURNAL_LIMIT: ReadLimit = ReadLimit { rows: 10_000, bytes: 4 << 20 };
/// How many retries of a message's turn are followed.
const MAX_RETRIES: usize = 100;

/// The turn of the account's workspace with this id, as it was sent. The turns of a deleted conversation are unknown.
pub async fn read(services: &Services, account: &Account, name: &str) -> Result<Trace, Error> {
    let id = TurnId::parse(name)?;
    let read = async |conn: Conn<'_>| find(conn, account.workspace, id).await;
    services.db.read(account.workspace, read).await?.ok_or_else(|| TurnId::not_found(name))
}

/// The last turn that answers a message, or the one that produced this reply, by the id of the message as it was sent; `None` if the
/// message requested no reply.
pub async fn read_of_message(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<Option<Trace>, Error> {
    let id = MessageId::parse(name)?;
    let workspace = account.workspace;
    let read = async |mut conn: Conn<'_>| {
        let Some(message) = messages::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
        let conversation_id = message.conversation;
        let conversation = conversations::find(conn.reborrow(), workspace, conversation_id).await?;
        let trace = match message.turn {
            Some(turn) => {
                let last = find_last(conn.reborrow(), workspace, turn).await?;
                find(conn, workspace, last).await?
            }
            None => None,
        };
        Ok(conversation.map(|_| trace))
    };
    services.db.read(workspace, read).await?.ok_or_else(|| MessageId::not_found(name))
}

/// The last of the turns that ran this one again.
async fn find_last(mut conn: Conn<'_>, workspace: WorkspaceId, first: TurnId) -> Result<TurnId, StoreError> {
    let mut last = first;
    for _ in 0..MAX_RETRIES {
        let retried = turns::list_retried(conn.reborrow(), &[(workspace, last)]).await?;
        let Some((_, next)) = retried.first() else { break };
        last = *next;
    }
    Ok(last)
}

async fn find(mut conn: Conn<'_>, workspace: WorkspaceId, id: TurnId) -> Result<Option<Trace>, StoreError> {
    let Some(turn) = turns::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
    let conversation = conversations::find(conn.reborrow(), workspace, turn.conversation).await?;
    let turn_ref = TurnRef { workspace, conversation: turn.conversation, turn: turn.id };
    let journal = journal::list_first(conn, turn_ref, JOURNAL_LIMIT).await?;
    Ok(conversation.map(|_| Trace::new(turn, &journal.rows, journal.has_more)))
}
