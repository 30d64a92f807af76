//! The messages of a workspace, newest first: all, those that match a filter, or those with the words of a search. Each statement examines
//! one block of the index, and a page a bounded number of blocks. A page may therefore have few or no messages, and still a next page.

use std::collections::HashMap;

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{MessageId, ResourceId as _, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::message_search::{BLOCK, MessageFilter};
use crate::store::message_index::{self, FoundMessage};
use crate::store::{Conn, StoreError, conversations, messages};

/// The blocks that a page looks at: a million messages.
const BLOCKS: usize = 64;

/// The message of the account's workspace with this id, as it was sent, unless its conversation was deleted.
pub async fn find(services: &Services, account: &Account, name: &str) -> Result<Message, Error> {
    let id = MessageId::parse(name)?;
    let workspace = account.workspace;
    let read = async |mut conn: Conn<'_>| {
        let Some(message) = messages::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
        let conversation = conversations::find(conn, workspace, message.conversation).await?;
        Ok(conversation.map(|_| message))
    };
    services.db.read(workspace, read).await?.ok_or_else(|| MessageId::not_found(name))
}

/// At most `limit` messages that match, or fewer if they are large or rare. The position is the number of a message in the index.
pub async fn list(
    services: &Services,
    account: &Account,
    filter: &MessageFilter,
    limit: usize,
) -> Result<Page<Message, i64>, Error> {
    if filter.matches_none {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let workspace = account.workspace;
    let read = async |conn: Conn<'_>| read_page(conn, workspace, filter, limit).await;
    Ok(services.db.read(workspace, read).await?)
}

async fn read_page(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &MessageFilter,
    limit: usize,
) -> Result<Page<Message, i64>, StoreError> {
    let range = message_index::range(conn.reborrow(), workspace, filter).await?;
    let (first, mut last) = range.into_inner();
    let mut found: Vec<FoundMessage> = Vec::new();
    for _ in 0..BLOCKS {
        if last < first || found.len() > limit {
            break;
        }
        let block = first.max(last - last.rem_euclid(BLOCK))..=last;
        let missing = page::fetch_limit(limit - found.len());
        found.extend(message_index::find(conn.reborrow(), workspace, filter, &block, missing).await?);
        last = block.start() - 1;
    }
    let count = fitting(&found, limit);
    let next = if count < found.len() {
        found.get(count - 1).map(|last| last.number)
    } else {
        (last >= first).then_some(last + 1)
    };
    found.truncate(count);
    Ok(Page { items: read_messages(conn, workspace, &found).await?, next })
}

/// How many of the messages a page has.
fn fitting(found: &[FoundMessage], limit: usize) -> usize {
    let max_bytes = page::read_limit(limit).bytes;
    let mut bytes = 0_i64;
    let fits = |(nth, message): &(usize, &FoundMessage)| {
        bytes = bytes.saturating_add(message.bytes);
        *nth < limit && (bytes <= max_bytes || *nth == 0)
    };
    found.iter().enumerate().take_while(fits).count()
}

/// The messages, in this order.
async fn read_messages(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    found: &[FoundMessage],
) -> Result<Vec<Message>, StoreError> {
    let keys: Vec<_> =
        found.iter().map(|message| (workspace, message.conversation, message.position)).collect();
    let rows = messages::find_many(conn, &keys).await?;
    let mut rows: HashMap<_, Message> =
        rows.into_iter().map(|row| ((workspace, row.conversation, row.position), row)).collect();
    Ok(keys.iter().filter_map(|key| rows.remove(key)).collect())
}
