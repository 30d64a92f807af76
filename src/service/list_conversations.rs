//! The conversations of a workspace, page by page.

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid};
use crate::store::Conn;
use crate::store::conversations::{self, Filter};

/// Which conversations are asked for; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub kind: Option<ConversationKind>,
    pub assistant: Option<AssistantId>,
    pub external_identifier: Option<String>,
    pub widget: Option<WidgetUuid>,
    /// Those after this place of the list: where the page before ended.
    pub after: Option<Place>,
}

/// A conversation's place in the list, which is ordered by age.
pub type Place = (Micros, ConversationId);

/// At most `limit` conversations, the newest first.
pub async fn list(
    services: &Services,
    account: &Account,
    wanted: Wanted,
    limit: usize,
) -> Result<Page<Conversation, Place>, Error> {
    let filter = Filter {
        kind: wanted.kind,
        assistant: wanted.assistant,
        external_identifier: wanted.external_identifier,
        widget: wanted.widget,
        before: wanted.after,
    };
    let ask = page::rows(limit);
    let read = async |conn: Conn<'_>| conversations::list(conn, account.workspace, &filter, ask).await;
    let found = services.db.reading(read).await?;
    Ok(Page::cut(found, limit, |conversation| (conversation.created_at, conversation.id)))
}
