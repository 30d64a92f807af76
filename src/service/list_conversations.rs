//! The conversations of a workspace, page by page.

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::conversation::{Conversation, ConversationCursor, ConversationFilter};
use crate::domain::error::Error;
use crate::store::{Conn, conversations};

/// At most `limit` conversations, the newest first.
pub async fn list(
    services: &Services,
    account: &Account,
    filter: &ConversationFilter,
    limit: usize,
) -> Result<Page<Conversation, ConversationCursor>, Error> {
    let read = async |conn: Conn<'_>, rows| conversations::list(conn, account.workspace, filter, rows).await;
    Page::read(&services.db, limit, read, |conversation| (conversation.created_at, conversation.id)).await
}
