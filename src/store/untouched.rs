//! Conversations that visitors created and in which nothing has happened since: found and removed.

use super::{Conn, StoreError, on_conn, workspaces};
use crate::domain::clock::Micros;
use crate::domain::ids::{ConversationId, WorkspaceId};

/// Which conversations are removed.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// Those that were created before this time.
    pub before: Micros,
    /// The oldest of a workspace beyond this number.
    pub max: i64,
}

/// At most `limit` workspaces from which conversations are to be removed.
pub async fn list_workspaces(
    conn: Conn<'_>,
    removal: Removal,
    limit: i64,
) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select workspace_id from workspace_state where untouched > $1 \
        or (untouched > 0 and exists (select 1 from conversations \
        where conversations.workspace_id = workspace_state.workspace_id and conversations.untouched \
        and conversations.created_at < $2)) limit $3";
    let workspaces: Vec<(WorkspaceId,)> = on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(removal.max).bind(removal.before).bind(limit).fetch_all(c).await?
    });
    Ok(workspaces.into_iter().map(|(workspace,)| workspace).collect())
}

/// Removes the oldest of a workspace's conversations that are to be removed, at most `limit`, with their links and first messages.
/// One that an older binary has used only loses its mark. Their events stay until they are too old. Returns how many were removed
/// or lost their mark.
pub async fn remove(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    removal: Removal,
    limit: i64,
) -> Result<i64, StoreError> {
    const LIST: &str = "select id, created_at from conversations where workspace_id = $1 and untouched \
        order by created_at limit $2";
    const COUNT: &str = "update workspace_state set untouched = untouched - $2 where workspace_id = $1";
    let locked = workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    let excess = locked.first().map_or(0, |(_, state)| state.untouched - removal.max);
    let oldest: Vec<(ConversationId, Micros)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(LIST).bind(workspace).bind(limit).fetch_all(c).await?
    });
    let mut count = 0_i64;
    for (conversation, created_at) in oldest {
        if count >= excess && created_at >= removal.before {
            break;
        }
        remove_one(conn.reborrow(), workspace, conversation).await?;
        count += 1;
    }
    on_conn!(conn, |c| {
        sqlx::query(COUNT).bind(workspace).bind(count).execute(c).await?;
    });
    Ok(count)
}

async fn remove_one(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<(), StoreError> {
    // An older binary stores a message without taking the mark away.
    const REMOVE: &str = "delete from conversations where workspace_id = $1 and id = $2 \
        and not exists (select 1 from messages where messages.workspace_id = $1 and conversation_id = $2 \
        and sender_type <> 'assistant')";
    const REMOVE_PARTS: [&str; 2] = [
        "delete from widget_links where workspace_id = $1 and conversation_id = $2",
        "delete from messages where workspace_id = $1 and conversation_id = $2",
    ];
    const UNMARK: &str = "update conversations set untouched = false where workspace_id = $1 and id = $2";
    if execute(conn.reborrow(), REMOVE, workspace, conversation).await? == 0 {
        execute(conn, UNMARK, workspace, conversation).await?;
        return Ok(());
    }
    for remove in REMOVE_PARTS {
        execute(conn.reborrow(), remove, workspace, conversation).await?;
    }
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
