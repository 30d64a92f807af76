//! The conversations of a workspace, page by page.

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid};
use crate::store::Conn;
use crate::store::conversations::{self, Filter};

/// A filter; absent fields match all conversations.
#[derive(Clone, Debug, Default)]
pub struct ConversationFilter {
    pub kind: Option<ConversationKind>,
    pub assistant: Option<AssistantId>,
    pub external_identifier: Option<String>,
    pub widget: Option<WidgetUuid>,
    /// The end of the previous page.
    pub after: Option<ConversationCursor>,
}

/// A conversation's position in the list, which is ordered by age.
pub type ConversationCursor = (Micros, ConversationId);

/// At most `limit` conversations, the newest first.
pub async fn list(
    services: &Services,
    account: &Account,
    query: ConversationFilter,
    limit: usize,
) -> Result<Page<Conversation, ConversationCursor>, Error> {
    let filter = Filter {
        kind: query.kind,
        assistant: query.assistant,
        external_identifier: query.external_identifier,
        widget: query.widget,
        before: query.after,
    };
    let read = async |conn: Conn<'_>, rows| conversations::list(conn, account.workspace, &filter, rows).await;
    Page::read(&services.db, limit, read, |conversation| (conversation.created_at, conversation.id)).await
}
