//! The conversations of a workspace, page by page.

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::conversation::{Conversation, ConversationCursor, ConversationFilter};
use crate::domain::error::Error;
use crate::store::{Conn, conversations};

/// At most `limit` conversations that match, or fewer if they are large or rare.
pub async fn list(
    services: &Services,
    account: &Account,
    filter: &ConversationFilter,
    limit: usize,
) -> Result<Page<Conversation, ConversationCursor>, Error> {
    let workspace = account.workspace;
    let limit = page::read_limit(limit);
    let read = async |conn: Conn<'_>| conversations::list(conn, workspace, filter, limit).await;
    let page = services.db.read(workspace, read).await?;
    Ok(Page { items: page.rows, next: page.next })
}
