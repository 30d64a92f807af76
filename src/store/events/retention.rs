//! Retention of events, with their deliveries and attempts. A workspace's oldest kept cursor is advanced first,
//! briefly under the workspace's lock; the rows below it are then removed without that lock.

use std::time::Duration;

use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::WorkspaceId;
use crate::store::{Conn, StoreError, on_conn, store_now};

/// At most `limit` workspaces after this one with events to remove: events older than `max_age`, or events
/// below the oldest kept cursor.
pub async fn list_expired(
    mut conn: Conn<'_>,
    max_age: Duration,
    after: WorkspaceId,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<WorkspaceId>, StoreError> {
    // A subquery for each workspace reads one index entry; a join would read all events.
    const EXPIRED: &str = "select s.workspace_id from workspace_state s where (select \
        e.cursor < s.events_from or e.created_at < $1 from events e where e.workspace_id = s.workspace_id \
        order by e.cursor limit 1) and s.workspace_id > $3 order by s.workspace_id limit $2";
    let before = store_now(conn.reborrow(), clock).await?.minus(max_age);
    let rows: Vec<(WorkspaceId,)> =
        on_conn!(conn, |c| sqlx::query_as(EXPIRED).bind(before).bind(limit).bind(after).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Advances a workspace's oldest kept cursor past at most `limit` events that are older than `max_age`, but not
/// past an event with an open delivery. Returns the number of events it passed.
pub async fn advance_cursor(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    max_age: Duration,
    limit: i64,
    clock: &dyn Clock,
) -> Result<i64, StoreError> {
    const OLDEST: &str = "select e.cursor, e.created_at from workspace_state s join events e \
        on e.workspace_id = s.workspace_id and e.cursor >= s.events_from where s.workspace_id = $1 \
        order by e.cursor limit $2";
    const ADVANCE: &str =
        "update workspace_state set events_from = $2 where workspace_id = $1 and events_from < $2";
    let before = store_now(conn.reborrow(), clock).await?.minus(max_age);
    let oldest: Vec<(i64, Micros)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(OLDEST).bind(workspace).bind(limit).fetch_all(c).await?
    });
    // Clocks of processes differ slightly, so only a prefix in cursor order counts as expired.
    let expired = oldest.iter().take_while(|(_, at)| *at < before).map(|(cursor, _)| *cursor);
    let (Some((first, _)), Some(last)) = (oldest.first(), expired.last()) else { return Ok(0) };
    let from = match first_open_delivery(conn.reborrow(), workspace, *first, last).await? {
        Some(open) => open,
        None => last + 1,
    };
    on_conn!(conn, |c| {
        sqlx::query(ADVANCE).bind(workspace).bind(from).execute(c).await?;
    });
    Ok(from - first)
}

/// The first event between two cursors with an open delivery. Disabled endpoints do not count.
async fn first_open_delivery(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    first: i64,
    last: i64,
) -> Result<Option<i64>, StoreError> {
    // A subquery for each endpoint; for a join SQLite would read all deliveries of the workspace.
    const OPEN: &str = "select min(open_at) from (select (select d.cursor from deliveries d \
        where d.workspace_id = w.workspace_id and d.endpoint_id = w.id and d.cursor between $2 and $3 \
        and d.ended_at is null order by d.cursor limit 1) as open_at \
        from webhook_endpoints w where w.workspace_id = $1 and w.enabled) as first_open";
    let (open,): (Option<i64>,) = on_conn!(conn, |c| {
        sqlx::query_as(OPEN).bind(workspace).bind(first).bind(last).fetch_one(c).await?
    });
    Ok(open)
}

/// Removes the first `limit` events below a workspace's oldest kept cursor, with their deliveries and attempts.
/// Returns the number of events removed.
pub async fn remove(mut conn: Conn<'_>, workspace: WorkspaceId, limit: i64) -> Result<u64, StoreError> {
    const LAST: &str = "select max(cursor) from (select e.cursor from workspace_state s join events e \
        on e.workspace_id = s.workspace_id and e.cursor < s.events_from where s.workspace_id = $1 \
        order by e.cursor limit $2) as below";
    const ATTEMPTS: &str = "delete from attempts where workspace_id = $1 and cursor <= $2 and endpoint_id in \
        (select id from webhook_endpoints where workspace_id = $1)";
    const DELIVERIES: &str = "delete from deliveries where workspace_id = $1 and cursor <= $2 and endpoint_id in \
        (select id from webhook_endpoints where workspace_id = $1)";
    const EVENTS: &str = "delete from events where workspace_id = $1 and cursor <= $2";
    let (last,): (Option<i64>,) = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(LAST).bind(workspace).bind(limit).fetch_one(c).await?
    });
    let Some(last) = last else { return Ok(0) };
    let mut removed = 0;
    for statement in [ATTEMPTS, DELIVERIES, EVENTS] {
        removed = on_conn!(conn.reborrow(), |c| {
            sqlx::query(statement).bind(workspace).bind(last).execute(c).await?.rows_affected()
        });
    }
    Ok(removed)
}
