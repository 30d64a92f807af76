//! Who runs a turn: claims of queued ones, and takeovers of what dead processes left. They lock turns
//! alone, and skip those that are locked.

use std::time::Duration;

use sqlx::QueryBuilder;

use super::now::store_now;
use super::turns::{COLUMNS, TurnRow};
use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Clock;
use crate::domain::ids::{ConversationId, ProcessId, TurnId, WorkspaceId};
use crate::domain::turn::{Door, Turn};

/// Claims at most `limit` queued turns of a door, the longest waiting first, but none of the
/// workspaces in `except`, and none that is to be ended: past its deadline, or taken over more often
/// than `max_takeovers`, for it may kill whoever runs it.
pub async fn claim(
    mut conn: Conn<'_>,
    process: ProcessId,
    door: Door,
    limit: usize,
    except: &[WorkspaceId],
    max_takeovers: i64,
    clock: &dyn Clock,
) -> Result<Vec<Turn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update skip locked", "");
    let rows: Vec<TurnRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (w, i) as");
        query.push(materialized);
        query.push(" (select workspace_id, id from turns where state = 'queued' and door = ");
        query.push_bind(door).push(" and not_before <= ").push_bind(now);
        query.push(" and (deadline_at is null or deadline_at > ").push_bind(now);
        query.push(") and takeovers <= ").push_bind(max_takeovers);
        if !except.is_empty() {
            query.push(" and workspace_id not in (");
            let mut list = query.separated(", ");
            for workspace in except {
                list.push_bind(*workspace);
            }
            query.push(")");
        }
        query.push(" order by not_before limit ").push_bind(limit).push(skip);
        query.push(") update turns set state = 'running', owner = ").push_bind(process);
        query.push(", fence = fence + 1, not_before = ").push_bind(now);
        query.push(", first_started_at = coalesce(first_started_at, ").push_bind(now);
        query.push(") from picked where workspace_id = picked.w and id = picked.i returning ");
        query.push(COLUMNS);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Turn::from).collect())
}

/// Queues turns whose owner has no lease any more, or whose attempt has run for far too long;
/// `overdue` is how long that is. At most `limit`; how many they were.
pub async fn take_over(
    mut conn: Conn<'_>,
    taker: ProcessId,
    overdue: Duration,
    limit: i64,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update of t skip locked", "");
    let count = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (w, i) as");
        query.push(materialized);
        query.push(
            " (select t.workspace_id, t.id from turns t left join processes p on p.id = t.owner \
             where t.state = 'running' and t.owner <> ",
        );
        query.push_bind(taker).push(" and (p.id is null or p.expires_at < ").push_bind(now);
        query.push(" or t.not_before < ").push_bind(now.minus(overdue)).push(") limit ").push_bind(limit);
        query.push(skip);
        query.push(
            ") update turns set state = 'queued', owner = null, fence = fence + 1, takeovers = takeovers + 1, \
             not_before = ",
        );
        query.push_bind(now).push(" from picked where workspace_id = picked.w and id = picked.i");
        query.build().execute(c).await?.rows_affected()
    });
    Ok(count)
}

/// Queues every turn that is running: what the one process of an SQLite store does as it starts.
pub async fn queue_all_running(mut conn: Conn<'_>, clock: &dyn Clock) -> Result<u64, StoreError> {
    const QUEUE: &str = "update turns set state = 'queued', owner = null, fence = fence + 1, \
        takeovers = takeovers + 1, not_before = $1 where state = 'running'";
    let now = store_now(conn.reborrow(), clock).await?;
    Ok(on_conn!(conn, |c| sqlx::query(QUEUE).bind(now).execute(c).await?.rows_affected()))
}

/// The turns that the store says a process owns, with their fence.
pub async fn list_owned(
    conn: Conn<'_>,
    process: ProcessId,
) -> Result<Vec<(WorkspaceId, ConversationId, TurnId, i64)>, StoreError> {
    const OWNED: &str =
        "select workspace_id, conversation_id, id, fence from turns where owner = $1 and state = 'running'";
    Ok(on_conn!(conn, |c| sqlx::query_as(OWNED).bind(process).fetch_all(c).await?))
}
