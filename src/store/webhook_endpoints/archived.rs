//! What endpoints that are out of use leave behind: their queued deliveries are closed; those of
//! deleted ones are removed, a little at a time, and then the endpoints themselves.

use sqlx::QueryBuilder;

use crate::domain::clock::Clock;
use crate::domain::delivery::DeliveryState;
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// An endpoint that is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ArchivedEndpoint {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "id")]
    pub endpoint: EndpointId,
    /// A workspace file's, which may have it again: it stays.
    pub from_file: bool,
}

/// All of them.
pub async fn list(conn: Conn<'_>) -> Result<Vec<ArchivedEndpoint>, StoreError> {
    const LIST: &str = "select workspace_id, id, from_file from webhook_endpoints \
        where archived_at is not null order by workspace_id, id";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await?))
}

/// Closes what is queued, at most `limit` deliveries; how many they were: none where the endpoint is in use
/// again. What is being sent is let be: its end queues it, or ends it.
pub async fn close_deliveries(
    mut conn: Conn<'_>,
    archived: ArchivedEndpoint,
    limit: i64,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update skip locked", "");
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (c) as");
        query.push(materialized).push(" (select cursor from deliveries where workspace_id = ");
        query.push_bind(archived.workspace).push(" and endpoint_id = ").push_bind(archived.endpoint);
        query.push(
            " and state = 'queued' and exists (select 1 from webhook_endpoints p \
             where p.workspace_id = deliveries.workspace_id and p.id = deliveries.endpoint_id \
             and p.archived_at is not null) order by not_before, cursor limit ",
        );
        query.push_bind(limit);
        query.push(skip).push(") update deliveries set state = ").push_bind(DeliveryState::Closed);
        query.push(", fence = fence + 1, ended_at = ").push_bind(now);
        query.push(" from picked where workspace_id = ").push_bind(archived.workspace);
        query.push(" and endpoint_id = ").push_bind(archived.endpoint).push(" and cursor = picked.c");
        query.build().execute(c).await?.rows_affected()
    }))
}

/// Removes the first `limit` deliveries of a deleted one, once all of them have ended, with their
/// attempts; where there are none left, the endpoint. How many deliveries they were.
pub async fn remove(mut conn: Conn<'_>, deleted: ArchivedEndpoint, limit: i64) -> Result<u64, StoreError> {
    const COUNT_OPEN: &str = "select count(*) from (select 1 from deliveries \
        where workspace_id = $1 and endpoint_id = $2 and state in ('queued', 'running') limit 1) as one";
    const LAST: &str = "select max(cursor) from (select cursor from deliveries \
        where workspace_id = $1 and endpoint_id = $2 order by cursor limit $3) as first";
    const ATTEMPTS: &str =
        "delete from attempts where workspace_id = $1 and endpoint_id = $2 and cursor <= $3";
    const DELIVERIES: &str =
        "delete from deliveries where workspace_id = $1 and endpoint_id = $2 and cursor <= $3";
    const ENDPOINT: &str = "delete from webhook_endpoints where workspace_id = $1 and id = $2";
    let ArchivedEndpoint { workspace, endpoint, .. } = deleted;
    let (open,): (i64,) = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(COUNT_OPEN).bind(workspace).bind(endpoint).fetch_one(c).await?
    });
    if open > 0 {
        return Ok(0);
    }
    let (last,): (Option<i64>,) = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(LAST).bind(workspace).bind(endpoint).bind(limit).fetch_one(c).await?
    });
    let Some(last) = last else {
        on_conn!(conn, |c| {
            sqlx::query(ENDPOINT).bind(workspace).bind(endpoint).execute(c).await?;
        });
        return Ok(0);
    };
    let mut removed = 0;
    for statement in [ATTEMPTS, DELIVERIES] {
        removed = on_conn!(conn.reborrow(), |c| {
            sqlx::query(statement).bind(workspace).bind(endpoint).bind(last).execute(c).await?.rows_affected()
        });
    }
    Ok(removed)
}
