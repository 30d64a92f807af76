//! Reads events for a replay.

use std::time::Duration;

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::event::EventType;
use crate::domain::ids::WorkspaceId;
use crate::store::deliveries::log::ReplayEvent;
use crate::store::{Conn, StoreError, on_conn};

/// A range of a workspace's events.
#[derive(Clone, Debug)]
pub struct EventRange {
    pub workspace: WorkspaceId,
    /// Exclusive lower bound of the cursor.
    pub after: i64,
    /// Inclusive upper bound of the cursor.
    pub last: i64,
    /// Inclusive lower bound of the creation time.
    pub since: Option<Micros>,
    /// Empty: all types.
    pub types: Vec<EventType>,
}

/// The first `limit` events of a range. Events below the retention cursor are left out even if they have not
/// been removed yet; so are test events, which belong to a single endpoint.
pub async fn list(conn: Conn<'_>, range: &EventRange, limit: i64) -> Result<Vec<ReplayEvent>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select cursor, conversation_id from events where workspace_id = ");
        query.push_bind(range.workspace).push(" and cursor > ").push_bind(range.after);
        query.push(" and cursor >= (select events_from from workspace_state where workspace_id = ");
        query.push_bind(range.workspace);
        query.push(") and cursor <= ").push_bind(range.last).push(" and type <> ");
        query.push_bind(EventType::WebhookEndpointTest);
        if let Some(since) = range.since {
            query.push(" and created_at >= ").push_bind(since);
        }
        if !range.types.is_empty() {
            query.push(" and type in (");
            let mut list = query.separated(", ");
            for kind in &range.types {
                list.push_bind(*kind);
            }
            query.push(")");
        }
        query.push(" order by cursor limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    }))
}

/// The cursor of the latest event; 0 if there is none.
pub async fn latest_cursor(conn: Conn<'_>, workspace: WorkspaceId) -> Result<i64, StoreError> {
    const LAST: &str = "select coalesce(max(cursor), 0) from events where workspace_id = $1";
    let (last,): (i64,) = on_conn!(conn, |c| sqlx::query_as(LAST).bind(workspace).fetch_one(c).await?);
    Ok(last)
}

/// A cursor shortly before the first event since `since`, found by binary search. Cursors follow the order of
/// time only as far as the clocks of the processes agree; the search allows for a minute of difference.
pub async fn cursor_before(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    since: Micros,
    last: i64,
) -> Result<i64, StoreError> {
    const NEXT: &str = "select cursor, created_at from events where workspace_id = $1 and cursor > $2 \
        order by cursor limit 1";
    const CLOCKS_APART: Duration = Duration::from_mins(1);
    let cutoff = since.minus(CLOCKS_APART);
    // Events up to `low` are too old.
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low) / 2;
        let next: Option<(i64, Micros)> = on_conn!(conn.reborrow(), |c| {
            sqlx::query_as(NEXT).bind(workspace).bind(middle).fetch_optional(c).await?
        });
        match next {
            Some((cursor, at)) if at < cutoff => low = cursor,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
