//! The conversations of an identified visitor.

use crate::domain::conversation::IdentifiedConversation;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::store::{Conn, StoreError, from_row, on_conn};

from_row!(IdentifiedConversation, |row| Self {
    link: row.try_get("link")?,
    created_at: row.try_get("created_at")?,
    updated_at: row.try_get("updated_at")?,
    has_ended: row.try_get("has_ended")?,
    preview: row.try_get("preview")?,
});

/// The conversations of a visitor with an assistant, the one with the newest message or change first. Of the newest message of each,
/// at most `preview` characters.
pub async fn list_identified(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    assistant: AssistantId,
    identity: &str,
    preview: i32,
    limit: i64,
) -> Result<Vec<IdentifiedConversation>, StoreError> {
    const LIST: &str = "select link.id as link, found.created_at, found.updated_at, \
        found.ended_at is not null as has_ended, (select substr(m.text, 1, $4) from messages m \
        where m.workspace_id = $1 and m.conversation_id = found.id and m.sender_type <> 'system' \
        order by m.position desc limit 1) as preview \
        from (select id, created_at, updated_at, ended_at from conversations where workspace_id = $1 \
        and identity = $2 and assistant_id = $3 and deleted_at is null \
        order by updated_at desc, id desc limit $5) as found \
        join widget_links link on link.workspace_id = $1 and link.conversation_id = found.id \
        order by found.updated_at desc, found.id desc";
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(identity).bind(assistant);
        query.bind(preview).bind(limit).fetch_all(c).await?
    }))
}
