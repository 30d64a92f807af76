//! What workspaces keep for a time only, besides conversations: their journals, and what else has the calls or errors of turns.

use std::collections::BTreeSet;
use std::time::Duration;

use super::erasures::content;
use super::{Columns, Conn, StoreError, columns, execute, fetch, from_row, key_columns, on_conn};
use crate::domain::ids::{ConversationId, MessageId, TurnId, WorkspaceId};
use crate::domain::render;
use crate::domain::retention::Retention;

/// How many events are read at once.
const EVENT_BATCH: i64 = 64;

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

/// Removes the journals of the oldest turns before one, about `limit` rows, and the calls in their replies and the events of these. Open
/// turns keep theirs. Returns how many rows were removed.
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
    remove_calls_of_events(conn.reborrow(), workspace, &turns).await?;
    execute(conn, &key_columns(), &turns, REMOVE).await
}

/// Removes the errors of models of at most `limit` turns before one, except those of open turns. Returns how many there were.
pub async fn clear_model_errors(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    before: TurnId,
    limit: i64,
) -> Result<u64, StoreError> {
    const CLEAR: &str = "update turns set model_error = null where (workspace_id, id) in \
        (select workspace_id, id from turns where workspace_id = $1 and id < $2 and model_error is not null \
        and state not in ('waiting', 'queued', 'running') order by id limit $3)";
    Ok(on_conn!(conn, |c| {
        sqlx::query(CLEAR).bind(workspace).bind(before).bind(limit).execute(c).await?.rows_affected()
    }))
}

/// Removes the calls of the replies of turns from their events, and what webhook endpoints have answered to these, which may repeat
/// them. An event that is still to be delivered is then delivered without the calls.
async fn remove_calls_of_events(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    turns: &[(WorkspaceId, TurnId)],
) -> Result<(), StoreError> {
    const REPLIES: &str = "select conversation_id, reply_id from new cross join turns \
        where workspace_id = key_workspace and id = key_id and reply_id is not null";
    let found: Vec<(ConversationId, MessageId)> =
        fetch(conn.reborrow(), &key_columns(), turns, REPLIES).await?;
    let conversations: BTreeSet<ConversationId> =
        found.iter().map(|(conversation, _)| *conversation).collect();
    let replies: BTreeSet<MessageId> = found.iter().map(|(_, reply)| *reply).collect();
    let mut cursors = Vec::new();
    for conversation in conversations {
        cursors.extend(remove_calls_of(conn.reborrow(), workspace, conversation, &replies).await?);
    }
    cursors.sort_unstable();
    content::clear_excerpts(conn, &cursors).await
}

/// Removes the calls from the events of some replies of a conversation. Returns the cursors of the events that had any.
async fn remove_calls_of(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    replies: &BTreeSet<MessageId>,
) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
    const LIST: &str = "select cursor, body from events where workspace_id = $1 and conversation_id = $2 \
        and cursor > $3 and type = 'message.created' and body like '%\"function_calls\":%' order by cursor limit $4";
    const BODIES: Columns<(WorkspaceId, i64, String)> =
        columns!(|row| { "key_workspace": row.0, "key_cursor": row.1, "new_body": &row.2 });
    // An erasure may have redacted an event since it was read: then it has no calls any more, and stays as it is.
    const REPLACE: &str = "update events set body = new_body from new where workspace_id = key_workspace \
        and cursor = key_cursor and body like '%\"function_calls\":%' returning workspace_id, cursor";
    let (mut after, mut changed) = (0, Vec::new());
    loop {
        let events: Vec<(i64, String)> = on_conn!(conn.reborrow(), |c| {
            let query = sqlx::query_as(LIST).bind(workspace).bind(conversation);
            query.bind(after).bind(EVENT_BATCH).fetch_all(c).await?
        });
        let Some((last, _)) = events.last() else { return Ok(changed) };
        after = *last;
        let bodies = events.iter().filter_map(|(cursor, body)| {
            let (message, body) = render::without_calls(body)?;
            replies.contains(&message).then_some((workspace, *cursor, body))
        });
        let bodies: Vec<_> = bodies.collect();
        let replaced: Vec<(WorkspaceId, i64)> = fetch(conn.reborrow(), &BODIES, &bodies, REPLACE).await?;
        changed.extend(replaced);
    }
}
