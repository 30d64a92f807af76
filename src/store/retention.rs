//! What workspaces keep for a time only, besides conversations: their journals.

use std::time::Duration;

use super::{Conn, StoreError, execute, from_row, key_columns, on_conn};
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::retention::Retention;

/// A workspace that keeps something for a time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainingWorkspace {
    pub workspace: WorkspaceId,
    pub retention: Retention,
}

from_row!(RetainingWorkspace, |row| Self {
    workspace: row.try_get("id")?,
    retention: Retention {
        conversations: from_micros(row.try_get("retention_conversations")?),
        journals: from_micros(row.try_get("retention_journals")?),
        bookings: from_micros(row.try_get("retention_bookings")?),
    },
});

/// A duration, from its column.
pub(super) fn from_micros(micros: Option<i64>) -> Option<Duration> {
    micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros)
}

/// A duration, for its column.
pub(super) fn to_micros(duration: Option<Duration>) -> Option<i64> {
    duration.map(|duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// The first `limit` workspaces after one that keep something for a time only, and are not being deleted.
pub async fn list_workspaces(
    conn: Conn<'_>,
    after: WorkspaceId,
    limit: i64,
) -> Result<Vec<RetainingWorkspace>, StoreError> {
    const LIST: &str = "select id, retention_conversations, retention_journals, retention_bookings \
        from workspaces where id > $1 and coalesce(retention_conversations, retention_journals, \
        retention_bookings) is not null and deleted_at is null order by id limit $2";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(after).bind(limit).fetch_all(c).await?))
}

/// Removes the journals of the oldest turns before one, about `limit` rows, and the calls in their replies. Open turns keep theirs.
/// Returns how many rows were removed.
pub async fn remove_journals(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    before: TurnId,
    limit: i64,
) -> Result<u64, StoreError> {
    const LIST: &str = "select distinct workspace_id, turn_id from (select j.workspace_id, j.turn_id from journal j \
        where j.workspace_id = $1 and j.turn_id < $2 and not exists (select 1 from turns t \
        where t.workspace_id = j.workspace_id and t.id = j.turn_id and t.state in ('waiting', 'queued', 'running')) \
        order by j.turn_id, j.step, j.position limit $3) as oldest";
    const REMOVE: &str = "delete from journal where (workspace_id, turn_id) in \
        (select key_workspace, key_id from new)";
    const CLEAR: &str = "update messages set function_calls = null where function_calls is not null \
        and (workspace_id, id) in (select t.workspace_id, t.reply_id from new cross join turns t \
        where t.workspace_id = key_workspace and t.id = key_id and t.reply_id is not null)";
    let turns: Vec<(WorkspaceId, TurnId)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(LIST).bind(workspace).bind(before).bind(limit).fetch_all(c).await?
    });
    execute(conn.reborrow(), &key_columns(), &turns, CLEAR).await?;
    execute(conn, &key_columns(), &turns, REMOVE).await
}
