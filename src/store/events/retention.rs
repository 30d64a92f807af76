//! What is kept no longer: events, with their deliveries and attempts. First a workspace's oldest
//! kept cursor is moved, a moment under its lock; then what is below it goes, without that lock.

use std::time::Duration;

use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::WorkspaceId;
use crate::store::{Conn, StoreError, on_conn, store_now};

/// At most `limit` workspaces after this one with events that are older than `max_age`, or that are below
/// the oldest kept cursor and still there.
pub async fn list_expired(
    mut conn: Conn<'_>,
    max_age: Duration,
    after: WorkspaceId,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<WorkspaceId>, StoreError> {
    // One look into the index for each workspace: as a join it would read all events.
    const EXPIRED: &str = "select s.workspace_id from workspace_state s where (select \
        e.cursor < s.events_from or e.created_at < $1 from events e where e.workspace_id = s.workspace_id \
        order by e.cursor limit 1) and s.workspace_id > $3 order by s.workspace_id limit $2";
    let before = store_now(conn.reborrow(), clock).await?.minus(max_age);
    let rows: Vec<(WorkspaceId,)> =
        on_conn!(conn, |c| sqlx::query_as(EXPIRED).bind(before).bind(limit).bind(after).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Moves a workspace's oldest kept cursor past at most `limit` events that are older than `max_age`,
/// but not past one that is still to be delivered. Gives how many it passed.
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
    // A prefix in order of cursors, though clocks of processes may differ by a little.
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

/// The first event between two cursors that an endpoint is still to get. One that takes no events
/// holds nothing back.
async fn first_open_delivery(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    first: i64,
    last: i64,
) -> Result<Option<i64>, StoreError> {
    // One look into the key for each endpoint: as a join SQLite reads all deliveries of the workspace.
    const OPEN: &str = "select min(open_at) from (select (select d.cursor from deliveries d \
        where d.workspace_id = w.workspace_id and d.endpoint_id = w.id and d.cursor between $2 and $3 \
        and d.ended_at is null order by d.cursor limit 1) as open_at \
        from webhook_endpoints w where w.workspace_id = $1 and w.enabled) as first_open";
    let (open,): (Option<i64>,) = on_conn!(conn, |c| {
        sqlx::query_as(OPEN).bind(workspace).bind(first).bind(last).fetch_one(c).await?
    });
    Ok(open)
}

/// Removes the lowest `limit` cursors of what is below a workspace's oldest kept one, with their
/// deliveries and attempts. Gives how many events there were.
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
