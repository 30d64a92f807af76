//! Which events are kept, for whoever asks for them again.

use std::time::Duration;

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::event::EventType;
use crate::domain::ids::WorkspaceId;
use crate::store::deliveries::log::ReplayEvent;
use crate::store::{Conn, StoreError, on_conn};

/// Which of a workspace's events.
#[derive(Clone, Debug)]
pub struct EventRange {
    pub workspace: WorkspaceId,
    /// Their cursors are greater than this one…
    pub after: i64,
    /// … and not greater than this one.
    pub last: i64,
    /// They were made at or after this time.
    pub since: Option<Micros>,
    /// Empty: all.
    pub types: Vec<EventType>,
}

/// The first events of a range, at most `limit`. What retention has passed is left out, though it may
/// still be there, and so are tests: they are for one endpoint alone.
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

/// The newest event's cursor; 0 where there is none.
pub async fn latest_cursor(conn: Conn<'_>, workspace: WorkspaceId) -> Result<i64, StoreError> {
    const LAST: &str = "select coalesce(max(cursor), 0) from events where workspace_id = $1";
    let (last,): (i64,) = on_conn!(conn, |c| sqlx::query_as(LAST).bind(workspace).fetch_one(c).await?);
    Ok(last)
}

/// A cursor that is not after any event since a time, and not long before the first: cursors are in the
/// order of time but for how far the processes' clocks are apart.
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
    // What is at `low` or before it is too old.
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
