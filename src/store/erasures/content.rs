//! Removes the content of deleted conversations in small transactions. They take no lock that the writer needs: it does not touch the rows of
//! deleted conversations.

use super::add_counts;
use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureCounts, ErasureJob};
use crate::domain::event::{Event, EventType};
use crate::domain::ids::{ConversationId, EndpointId, EventId, TurnId, WorkspaceId};
use crate::domain::render;
use crate::store::{Columns, Conn, StoreError, columns, execute, fetch, key_columns, on_conn};

/// At most `limit` turns of a conversation after one that have a journal, an error of the model's endpoint or an idempotency key. Not every
/// turn has a message of its own: a failed turn that was run again shares its message with the later one.
pub async fn list_turns(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: TurnId,
    limit: i64,
) -> Result<Vec<(WorkspaceId, TurnId)>, StoreError> {
    // A subquery with a limit, because PostgreSQL might read the whole journal for an `exists`.
    const LIST: &str = "select workspace_id, id from turns where workspace_id = $1 and conversation_id = $2 and id > $3 \
        and (model_error is not null or idempotency_scope is not null or idempotency_key is not null \
        or (select j.step from journal j where j.workspace_id = turns.workspace_id and j.turn_id = turns.id \
        limit 1) is not null) order by id limit $4";
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(conversation).bind(after);
        query.bind(limit).fetch_all(c).await?
    }))
}

/// Removes some rows of the journals of turns. Returns how many were removed.
pub async fn remove_journals(conn: Conn<'_>, turns: &[(WorkspaceId, TurnId)]) -> Result<u64, StoreError> {
    const REMOVE: &str = "delete from journal where (workspace_id, turn_id, step, position) in \
        (select j.workspace_id, j.turn_id, j.step, j.position from new cross join journal j \
        where j.workspace_id = key_workspace and j.turn_id = key_id limit 256)";
    execute(conn, &key_columns(), turns, REMOVE).await
}

/// Removes what turns say of errors and of idempotency keys.
pub async fn clear_turns(conn: Conn<'_>, turns: &[(WorkspaceId, TurnId)]) -> Result<(), StoreError> {
    const CLEAR: &str = "update turns set model_error = null, idempotency_scope = null, idempotency_key = null \
        from new where turns.workspace_id = key_workspace and turns.id = key_id";
    execute(conn, &key_columns(), turns, CLEAR).await?;
    Ok(())
}

/// Removes what at most `limit` messages after a position say, and their ratings. The messages themselves stay, because the erasure of a
/// sender finds the conversation by them. Returns the last position; `None` if no message has any content.
pub async fn clear_messages(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Option<i64>, StoreError> {
    const CLEAR: &str = "update messages set text = '', metadata = null, function_calls = null, earlier_texts = null, \
        rating = null, rating_comment = null where workspace_id = $1 and conversation_id = $2 and position > $3 \
        and position <= (select max(position) from (select position from messages \
        where workspace_id = $1 and conversation_id = $2 and position > $3 \
        and (text <> '' or coalesce(metadata, function_calls, earlier_texts, rating, rating_comment) is not null) \
        order by position limit $4) as first) returning position";
    let cleared: Vec<(i64,)> = on_conn!(conn, |c| {
        let query = sqlx::query_as(CLEAR).bind(workspace).bind(conversation).bind(after);
        query.bind(limit).fetch_all(c).await?
    });
    Ok(cleared.into_iter().map(|(position,)| position).max())
}

/// Removes the first `limit` messages of a conversation from the index that searches them. Returns how many were removed.
pub async fn remove_from_index(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    limit: i64,
) -> Result<u64, StoreError> {
    const REMOVE: &str = "delete from message_index where workspace_id = $1 and conversation_id = $2 and position <= \
        (select max(position) from (select position from message_index \
        where workspace_id = $1 and conversation_id = $2 order by position limit $3) as first)";
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query(REMOVE).bind(workspace).bind(conversation).bind(limit);
        query.execute(c).await?.rows_affected()
    }))
}

/// Removes the first `limit` messages of a conversation. Returns how many were removed.
pub async fn remove_messages(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    conversation: ConversationId,
    limit: i64,
) -> Result<u64, StoreError> {
    // Without statistics PostgreSQL would read the first messages again for each message of the conversation, if they were a list.
    const REMOVE: &str = "delete from messages where workspace_id = $1 and conversation_id = $2 and position <= \
        (select max(position) from (select position from messages \
        where workspace_id = $1 and conversation_id = $2 order by position limit $3) as first)";
    let workspace = job.workspace;
    let removed = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(REMOVE).bind(workspace).bind(conversation).bind(limit);
        query.execute(c).await?.rows_affected()
    });
    let messages = i64::try_from(removed).unwrap_or(i64::MAX);
    add_counts(conn, workspace, job.id, ErasureCounts { messages, ..ErasureCounts::default() }).await?;
    Ok(removed)
}

/// An event of a deleted conversation, without its body.
#[derive(sqlx::FromRow)]
struct EventRow {
    cursor: i64,
    id: EventId,
    #[sqlx(rename = "type")]
    kind: EventType,
    created_at: Micros,
}

/// Removes the data of at most `limit` events after a cursor, closes their deliveries, and removes what endpoints have answered. The
/// event of the deletion itself is left alone, and so are those without data, so that a later slice of work goes on where this one ends.
/// Returns the cursor of the last event; `None` at the end.
pub async fn redact_events(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    conversation: ConversationId,
    after: i64,
    limit: i64,
    now: Micros,
) -> Result<Option<i64>, StoreError> {
    const LIST: &str = "select cursor, id, type, created_at from events where workspace_id = $1 \
        and conversation_id = $2 and cursor > $3 and type <> 'conversation.deleted' and body like '%\"data\":%' \
        order by cursor limit $4";
    const BODIES: Columns<Event> = columns!(|event| { "key_workspace": event.workspace, "key_cursor": event.cursor, "new_body": &event.body });
    const REDACT: &str = "update events set body = new_body from new \
        where workspace_id = key_workspace and cursor = key_cursor and body <> new_body";
    let workspace = job.workspace;
    let rows: Vec<EventRow> = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(conversation);
        query.bind(after).bind(limit).fetch_all(c).await?
    });
    let Some(last) = rows.last().map(|row| row.cursor) else { return Ok(None) };
    let redacted: Vec<Event> = rows.into_iter().map(|row| redact(workspace, conversation, &row)).collect();
    let events = execute(conn.reborrow(), &BODIES, &redacted, REDACT).await?;
    let cursors: Vec<(WorkspaceId, i64)> = redacted.iter().map(|event| (workspace, event.cursor)).collect();
    close_deliveries(conn.reborrow(), &cursors, now).await?;
    let events = i64::try_from(events).unwrap_or(i64::MAX);
    add_counts(conn, workspace, job.id, ErasureCounts { events, ..ErasureCounts::default() }).await?;
    Ok(Some(last))
}

fn redact(workspace: WorkspaceId, conversation: ConversationId, row: &EventRow) -> Event {
    let EventRow { cursor, id, kind, created_at } = *row;
    let conversation = Some(conversation);
    let mut event = Event { workspace, cursor, id, kind, conversation, body: String::new(), created_at };
    event.body = render::redacted_event(&event);
    event
}

/// A delivery: its workspace, endpoint and cursor.
type DeliveryRow = (WorkspaceId, EndpointId, i64);

const DELIVERY_KEYS: Columns<(DeliveryRow, Micros)> = columns!(|row| {
    "key_workspace": row.0.0,
    "key_endpoint": row.0.1,
    "key_cursor": row.0.2,
    "now": row.1,
});

/// Locks the deliveries of events, in the order in which the outcomes of attempts lock them.
async fn lock_deliveries(
    conn: Conn<'_>,
    cursors: &[(WorkspaceId, i64)],
) -> Result<Vec<DeliveryRow>, StoreError> {
    macro_rules! lock {
        ($lock:literal) => {
            concat!(
                "select d.workspace_id, d.endpoint_id, d.cursor from new cross join webhook_endpoints w \
                 cross join deliveries d where w.workspace_id = key_workspace and d.workspace_id = key_workspace \
                 and d.endpoint_id = w.id and d.cursor = key_id order by d.workspace_id, d.endpoint_id, d.cursor",
                $lock
            )
        };
    }
    let lock = conn.pick(lock!(" for no key update of d"), lock!(""));
    fetch(conn, &key_columns(), cursors, lock).await
}

/// Closes the open deliveries of events, and removes the texts of all their attempts. The outcome of an attempt that is under way is
/// dropped, because its fence has changed.
async fn close_deliveries(
    mut conn: Conn<'_>,
    cursors: &[(WorkspaceId, i64)],
    now: Micros,
) -> Result<(), StoreError> {
    const CLOSE: &str = "update deliveries set state = 'closed', owner = null, fence = fence + 1, \
        ended_at = new.now from new where workspace_id = key_workspace and endpoint_id = key_endpoint \
        and cursor = key_cursor and state in ('queued', 'running')";
    let deliveries = lock_deliveries(conn.reborrow(), cursors).await?;
    let rows: Vec<_> = deliveries.into_iter().map(|key| (key, now)).collect();
    execute(conn.reborrow(), &DELIVERY_KEYS, &rows, CLOSE).await?;
    clear_attempts(conn, &rows).await
}

/// Removes what endpoints have answered to events.
pub(in crate::store) async fn clear_excerpts(
    mut conn: Conn<'_>,
    cursors: &[(WorkspaceId, i64)],
) -> Result<(), StoreError> {
    let deliveries = lock_deliveries(conn.reborrow(), cursors).await?;
    let rows: Vec<_> = deliveries.into_iter().map(|key| (key, Micros(0))).collect();
    clear_attempts(conn, &rows).await
}

async fn clear_attempts(conn: Conn<'_>, rows: &[(DeliveryRow, Micros)]) -> Result<(), StoreError> {
    const CLEAR: &str = "update attempts set excerpt = null from new where workspace_id = key_workspace \
        and endpoint_id = key_endpoint and cursor = key_cursor and excerpt is not null";
    execute(conn, &DELIVERY_KEYS, rows, CLEAR).await?;
    Ok(())
}

/// Removes the variables and metadata of a conversation.
pub async fn clear_conversation(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<(), StoreError> {
    const CLEAR: &str = "update conversations set key_variables = '{}', visitor_variables = '{}', metadata = null, \
        identity_variables = '{}', identity_expires_at = null where workspace_id = $1 and id = $2 and erased_at is null";
    on_conn!(conn, |c| {
        sqlx::query(CLEAR).bind(workspace).bind(conversation).execute(c).await?;
    });
    Ok(())
}

/// Removes the rest of a conversation, by which others find it: what is left are its ids, times and counts.
pub async fn finish(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    conversation: ConversationId,
    now: Micros,
) -> Result<(), StoreError> {
    const UNLINK: &str = "delete from widget_links where workspace_id = $1 and conversation_id = $2";
    const CLEAR: &str = "update conversations set external_identifier = null, identity = null, erased_at = $3 \
        where workspace_id = $1 and id = $2 and erased_at is null";
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(UNLINK).bind(job.workspace).bind(conversation).execute(c).await?;
    });
    let cleared = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(CLEAR).bind(job.workspace).bind(conversation).bind(now);
        query.execute(c).await?.rows_affected()
    });
    let conversations = i64::try_from(cleared).unwrap_or(i64::MAX);
    add_counts(conn, job.workspace, job.id, ErasureCounts { conversations, ..ErasureCounts::default() }).await
}
