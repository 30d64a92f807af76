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
    let read =
        async |conn: Conn<'_>, limit| conversations::list(conn, account.workspace, filter, limit).await;
    let position = |conversation: &Conversation| (conversation.created_at, conversation.id);
    Page::read_within_bytes(&services.db, account.workspace, limit, read, position).await
}
