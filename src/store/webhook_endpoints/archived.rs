//! Clean-up after archived endpoints: their queued deliveries are closed. Deleted endpoints then lose their
//! deliveries in small batches, and are removed themselves at the end.

use crate::domain::clock::Clock;
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn, store_now, workspaces};

/// An archived endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ArchivedEndpoint {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "id")]
    pub endpoint: EndpointId,
    /// Created by a workspace file, which may contain it again: it is never removed.
    pub from_file: bool,
}

/// All archived endpoints.
pub async fn list(conn: Conn<'_>) -> Result<Vec<ArchivedEndpoint>, StoreError> {
    const LIST: &str = "select workspace_id, id, from_file from webhook_endpoints \
        where archived_at is not null order by workspace_id, id";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await?))
}

/// Closes at most `limit` queued deliveries and returns how many were closed: none if the endpoint is no longer
/// archived. Running deliveries are left alone; their outcome ends them or queues them again.
pub async fn close_deliveries(
    mut conn: Conn<'_>,
    archived: ArchivedEndpoint,
    limit: i64,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    macro_rules! close {
        ($materialized:literal, $lock:literal) => {
            concat!(
                "with picked (c) as",
                $materialized,
                " (select cursor from deliveries where workspace_id = $1 and endpoint_id = $2 and state = 'queued' \
                 and exists (select 1 from webhook_endpoints p where p.workspace_id = deliveries.workspace_id \
                 and p.id = deliveries.endpoint_id and p.archived_at is not null) order by not_before, cursor limit $3",
                $lock,
                ") update deliveries set state = 'closed', fence = fence + 1, ended_at = $4 from picked \
                 where workspace_id = $1 and endpoint_id = $2 and cursor = picked.c"
            )
        };
    }
    let now = store_now(conn.reborrow(), clock).await?;
    let close = conn.pick(close!(" materialized", " for no key update skip locked"), close!("", ""));
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query(close).bind(archived.workspace).bind(archived.endpoint).bind(limit);
        query.bind(now).execute(c).await?.rows_affected()
    }))
}

/// Removes the first `limit` deliveries of a deleted endpoint and their attempts, once all its deliveries have
/// ended; when none are left, removes the endpoint. Returns how many deliveries were removed.
pub async fn remove(mut conn: Conn<'_>, deleted: ArchivedEndpoint, limit: i64) -> Result<u64, StoreError> {
    const COUNT_OPEN: &str = "select count(*) from (select 1 from deliveries \
        where workspace_id = $1 and endpoint_id = $2 and state in ('queued', 'running') limit 1) as one";
    const LAST: &str = "select max(cursor) from (select cursor from deliveries \
        where workspace_id = $1 and endpoint_id = $2 order by cursor limit $3) as first";
    const ATTEMPTS: &str =
        "delete from attempts where workspace_id = $1 and endpoint_id = $2 and cursor <= $3";
    const DELIVERIES: &str =
        "delete from deliveries where workspace_id = $1 and endpoint_id = $2 and cursor <= $3";
    const ENDPOINT: &str = "delete from webhook_endpoints where workspace_id = $1 and id = $2 \
        and archived_at is not null \
        and not exists (select 1 from deliveries where workspace_id = $1 and endpoint_id = $2)";
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
        // Deliveries and endpoints are only inserted and restored under this lock.
        workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
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
