//! Conversations that visitors created and in which nothing has happened since: listed and removed.

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::{ConversationId, WorkspaceId};

/// At most `limit` conversations that are marked as untouched and were created before a time, the oldest first.
pub async fn list(
    conn: Conn<'_>,
    before: Micros,
    limit: i64,
) -> Result<Vec<(WorkspaceId, ConversationId)>, StoreError> {
    const LIST: &str = "select workspace_id, id from conversations where untouched and created_at < $1 \
        order by created_at limit $2";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(before).bind(limit).fetch_all(c).await?))
}

/// Removes those of the conversations that are untouched, with their links and first messages, and takes the mark from the others. The
/// caller has locked the workspace's state. Their events stay until they are too old.
pub async fn remove(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<(), StoreError> {
    // An older binary stores a message without taking the mark away.
    const REMOVE: &str = "delete from conversations where workspace_id = $1 and id = $2 and untouched \
        and not exists (select 1 from messages where messages.workspace_id = $1 and conversation_id = $2 \
        and sender_type <> 'assistant')";
    const REMOVE_PARTS: [&str; 2] = [
        "delete from widget_links where workspace_id = $1 and conversation_id = $2",
        "delete from messages where workspace_id = $1 and conversation_id = $2",
    ];
    const UNMARK: &str =
        "update conversations set untouched = false where workspace_id = $1 and id = $2 and untouched";
    const COUNT: &str = "update workspace_state set untouched = untouched - $2 where workspace_id = $1";
    let mut count = 0_i64;
    for conversation in conversations {
        let removed = execute(conn.reborrow(), REMOVE, workspace, *conversation).await?;
        if removed > 0 {
            for remove in REMOVE_PARTS {
                execute(conn.reborrow(), remove, workspace, *conversation).await?;
            }
            count += 1;
        } else if execute(conn.reborrow(), UNMARK, workspace, *conversation).await? > 0 {
            count += 1;
        }
    }
    on_conn!(conn, |c| {
        sqlx::query(COUNT).bind(workspace).bind(count).execute(c).await?;
    });
    Ok(())
}

/// The number of rows that a statement about one conversation changed.
async fn execute(
    conn: Conn<'_>,
    statement: &'static str,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<u64, StoreError> {
    Ok(on_conn!(conn, |c| {
        sqlx::query(statement).bind(workspace).bind(conversation).execute(c).await?.rows_affected()
    }))
}
