//! Claims of queued turns. A claim locks no rows but turns, and skips locked ones.

use sqlx::QueryBuilder;

use crate::domain::clock::Clock;
use crate::domain::ids::{ProcessId, WorkspaceId};
use crate::domain::turn::{Api, Turn};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// How many more turns of each workspace may start here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceCapacity {
    /// For a workspace that runs no turns here.
    pub limit: usize,
    /// For each workspace that runs some.
    pub remaining: Vec<(WorkspaceId, usize)>,
}

/// Claims at most `limit` queued turns of an API, longest waiting first, and for each workspace no more
/// than its `capacity`. Turns that are due to be ended are left out: those past their deadline, and those
/// taken over more than `max_takeovers` times, because such a turn may crash every process that runs it.
pub async fn claim(
    mut conn: Conn<'_>,
    process: ProcessId,
    api: Api,
    limit: usize,
    capacity: Option<&WorkspaceCapacity>,
    max_takeovers: i64,
    clock: &dyn Clock,
) -> Result<Vec<Turn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update skip locked", "");
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (w, i) as");
        query.push(materialized).push(" (select workspace_id, id from turns where state = 'queued'");
        if capacity.is_some() {
            // Rows of a window function cannot be locked, so a subquery ranks them first.
            query.push(
                " and (workspace_id, id) in (select workspace_id, id from (select workspace_id, id, \
                 row_number() over (partition by workspace_id order by not_before, id) as workspace_rank \
                 from (select workspace_id, id, not_before from turns where state = 'queued'",
            );
        }
        query.push(" and api = ").push_bind(api).push(" and not_before <= ").push_bind(now);
        query.push(" and (deadline_at is null or deadline_at > ").push_bind(now);
        query.push(") and takeovers <= ").push_bind(max_takeovers);
        if let Some(capacity) = capacity {
            push_quota_filter(&mut query, capacity, limit);
        }
        query.push(" order by not_before limit ").push_bind(limit).push(skip);
        query.push(") update turns set state = 'running', owner = ").push_bind(process);
        query.push(", fence = fence + 1, not_before = ").push_bind(now);
        query.push(", first_started_at = coalesce(first_started_at, ").push_bind(now);
        query.push(concat!(
            ") from picked where workspace_id = picked.w and id = picked.i returning ",
            turn_columns!()
        ));
        query.build_query_as().fetch_all(c).await?
    }))
}

/// Restricts a claim to the capacity of each workspace. Workspaces without any are excluded first, so that
/// their backlog does not hide the turns of others.
fn push_quota_filter<D>(query: &mut QueryBuilder<D>, capacity: &WorkspaceCapacity, limit: i64)
where
    D: sqlx::Database,
    WorkspaceId: for<'q> sqlx::Encode<'q, D> + sqlx::Type<D>,
    i64: for<'q> sqlx::Encode<'q, D> + sqlx::Type<D>,
{
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (full, some): (Vec<_>, Vec<_>) = capacity.remaining.iter().copied().partition(|(_, left)| *left == 0);
    for (workspace, _) in full {
        query.push(" and workspace_id <> ").push_bind(workspace);
    }
    query
        .push(" order by not_before limit ")
        .push_bind(limit)
        .push(") longest) ranked where workspace_rank <= ");
    if some.is_empty() {
        query.push_bind(count(capacity.limit));
    } else {
        query.push("case workspace_id");
        for (workspace, left) in some {
            query.push(" when ").push_bind(workspace).push(" then ").push_bind(count(left));
        }
        query.push(" else ").push_bind(count(capacity.limit)).push(" end");
    }
    query.push(")");
}
