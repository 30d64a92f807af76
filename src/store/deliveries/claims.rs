//! Ownership of deliveries: the endpoints with due deliveries, claims, takeovers. Deliveries are claimed by
//! endpoint, so that the backlog of one endpoint does not hide the deliveries of another.

use std::collections::HashSet;

use uuid::Uuid;

use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{ClaimedDelivery, DeliveryKey, EventPayload, ORDERING_WINDOW};
use crate::domain::event::EventCursor;
use crate::domain::ids::{EndpointId, EventId, ProcessId, WorkspaceId};
use crate::domain::render;
use crate::store::{Conn, StoreError, fetch, from_row, key_columns, on_conn, store_epoch, store_now};

/// An endpoint with due deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueEndpoint {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    /// When its first delivery became due.
    pub since: Micros,
    /// Its last attempt failed.
    pub is_failing: bool,
}

/// The number of deliveries to claim for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub count: usize,
}

/// The end of both statements that list the endpoints with due deliveries. A recursive skip scan over the index of
/// queued deliveries visits each endpoint once, however many deliveries it has.
macro_rules! select_due {
    () => {
        "select due.w, due.i, due.since, p.failing_since is not null from due \
         join webhook_endpoints p on p.workspace_id = due.w and p.id = due.i \
         where p.enabled and p.archived_at is null and due.since <= $1"
    };
}

const DUE_POSTGRES: &str = concat!(
    "with recursive due (w, i, since) as (\
     (select workspace_id, endpoint_id, not_before from deliveries where state = 'queued' \
      order by workspace_id, endpoint_id, not_before limit 1) \
     union all \
     select n.workspace_id, n.endpoint_id, n.not_before from due cross join lateral \
     (select workspace_id, endpoint_id, not_before from deliveries \
      where state = 'queued' and (workspace_id, endpoint_id) > (due.w, due.i) \
      order by workspace_id, endpoint_id, not_before limit 1) n) ",
    select_due!()
);
/// With two subqueries, because SQLite does not seek by both columns at once.
const DUE_SQLITE: &str = concat!(
    "with recursive due (w, i, since) as (\
     select * from (select workspace_id, endpoint_id, not_before from deliveries where state = 'queued' \
      order by workspace_id, endpoint_id, not_before limit 1) \
     union all \
     select n.workspace_id, n.endpoint_id, n.not_before from due join deliveries n on n.rowid = coalesce(\
     (select rowid from deliveries where state = 'queued' and workspace_id = due.w and endpoint_id > due.i \
      order by endpoint_id, not_before limit 1), \
     (select rowid from deliveries where state = 'queued' and workspace_id > due.w \
      order by workspace_id, endpoint_id, not_before limit 1))) ",
    select_due!()
);

/// The active endpoints with due deliveries, and the database's time.
pub async fn list_due(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
) -> Result<(Vec<DueEndpoint>, Micros), StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let list = conn.pick(DUE_POSTGRES, DUE_SQLITE);
    let rows: Vec<(WorkspaceId, EndpointId, Micros, bool)> =
        on_conn!(conn, |c| sqlx::query_as(list).bind(now).fetch_all(c).await?);
    let due =
        |(workspace, endpoint, since, is_failing)| DueEndpoint { workspace, endpoint, since, is_failing };
    Ok((rows.into_iter().map(due).collect(), now))
}

/// The claimable deliveries `q` of one endpoint, longest due first. A delivery is not claimable while an earlier
/// delivery of the same conversation to this endpoint is open, unless that one is past the ordering window and
/// waits for a retry. The subquery is no `not exists`, because a planner may turn that into a join that reads all
/// open deliveries of the endpoint for each row; and it reads the latest earlier delivery first, because there may
/// be thousands of old ones.
macro_rules! claimable {
    ($workspace:literal, $endpoint:literal, $now:literal, $ordered_since:literal, $count:literal) => {
        concat!(
            "select workspace_id, endpoint_id, cursor from deliveries q where workspace_id = ",
            $workspace,
            " and endpoint_id = ",
            $endpoint,
            " and state = 'queued' and not_before <= ",
            $now,
            " and (select 1 from deliveries earlier where earlier.workspace_id = q.workspace_id \
             and earlier.endpoint_id = q.endpoint_id and earlier.conversation_id = q.conversation_id \
             and earlier.cursor < q.cursor and earlier.state in ('queued', 'running') \
             and (earlier.state = 'running' or earlier.not_before <= ",
            $now,
            " or earlier.created_at > ",
            $ordered_since,
            ") order by earlier.cursor desc limit 1) is null order by not_before, cursor limit ",
            $count
        )
    };
}

const CLAIM_POSTGRES: &str = concat!(
    "with picked (w, i, c) as materialized (select d.workspace_id, d.endpoint_id, d.cursor \
     from unnest($4::uuid[], $5::uuid[], $6::bigint[]) as e (w, i, k) cross join lateral (",
    claimable!("e.w", "e.i", "$2", "$3", "e.k"),
    " for no key update skip locked) d) \
     update deliveries set state = 'running', owner = $1, fence = fence + 1 from picked \
     where workspace_id = picked.w and endpoint_id = picked.i and cursor = picked.c \
     returning workspace_id, endpoint_id, cursor, id, fence, attempts, attempts_before, replay"
);
const CLAIM_SQLITE: &str = concat!(
    "with picked (w, i, c) as (",
    claimable!("$4", "$5", "$2", "$3", "$6"),
    ") update deliveries set state = 'running', owner = $1, fence = fence + 1 from picked \
     where workspace_id = picked.w and endpoint_id = picked.i and cursor = picked.c \
     returning workspace_id, endpoint_id, cursor, id, fence, attempts, attempts_before, replay"
);

from_row!(ClaimedDelivery, |row| Self {
    key: DeliveryKey {
        workspace: row.try_get("workspace_id")?,
        endpoint: row.try_get("endpoint_id")?,
        cursor: row.try_get("cursor")?,
    },
    id: row.try_get("id")?,
    fence: row.try_get("fence")?,
    attempts: row.try_get("attempts")?,
    attempts_before: row.try_get("attempts_before")?,
    replay: row.try_get("replay")?,
});

/// Claims at most the requested number of deliveries of each endpoint, in order.
pub async fn claim(
    mut conn: Conn<'_>,
    process: ProcessId,
    requests: &[ClaimRequest],
    clock: &dyn Clock,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let ordered_since = now.minus(ORDERING_WINDOW);
    let count = |request: &ClaimRequest| i64::try_from(request.count).unwrap_or(i64::MAX);
    let mut claimed: Vec<ClaimedDelivery> = match conn {
        Conn::Postgres(c) => {
            let workspaces: Vec<Uuid> = requests.iter().map(|request| request.workspace.0).collect();
            let endpoints: Vec<Uuid> = requests.iter().map(|request| request.endpoint.0).collect();
            let counts: Vec<i64> = requests.iter().map(count).collect();
            let query = sqlx::query_as(CLAIM_POSTGRES).bind(process).bind(now).bind(ordered_since);
            query.bind(workspaces).bind(endpoints).bind(counts).fetch_all(c).await?
        }
        Conn::Sqlite(c) => {
            let mut rows = Vec::new();
            for request in requests {
                let query = sqlx::query_as::<_, ClaimedDelivery>(CLAIM_SQLITE);
                let query = query.bind(process).bind(now).bind(ordered_since);
                let query = query.bind(request.workspace).bind(request.endpoint).bind(count(request));
                rows.extend(query.fetch_all(&mut *c).await?);
            }
            rows
        }
    };
    // `returning` has no defined order.
    claimed.sort_by_key(|delivery| delivery.key);
    Ok(claimed)
}

/// The events of deliveries. Events that retention has removed are left out.
pub async fn list_events(conn: Conn<'_>, keys: &[DeliveryKey]) -> Result<Vec<EventPayload>, StoreError> {
    const LIST: &str = concat!(
        "select e.workspace_id, ",
        store_epoch!(),
        ", e.cursor, e.id, e.body, c.deleted_at is not null and e.type <> 'conversation.deleted' \
         from new cross join events e \
         left join conversations c on c.workspace_id = e.workspace_id and c.id = e.conversation_id \
         where e.workspace_id = key_workspace and e.cursor = key_id"
    );
    let distinct: HashSet<_> = keys.iter().map(|key| (key.workspace, key.cursor)).collect();
    let rows: Vec<(WorkspaceId, i64, i64, EventId, String, bool)> =
        fetch(conn, &key_columns(), &distinct, LIST).await?;
    let event = |(workspace, epoch, cursor, id, body, is_withheld)| EventPayload {
        workspace,
        cursor,
        id,
        body: render::with_epoch(body, EventCursor { epoch, number: cursor }),
        is_withheld,
    };
    Ok(rows.into_iter().map(event).collect())
}
