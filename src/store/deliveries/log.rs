//! The delivery log as the platform API shows it, and replays.

use sqlx::QueryBuilder;

use super::QueuedDelivery;
use crate::domain::clock::Clock;
use crate::domain::delivery::{Attempt, DeliveryKey, DeliveryState};
use crate::domain::delivery_log::{AttemptLogEntry, DeliveryLogEntry};
use crate::domain::event::Delivery;
use crate::domain::ids::{ConversationId, DeliveryId, EndpointId, WorkspaceId};
use crate::store::{Conn, StoreError, from_row, insert_rows, on_conn, store_now};

macro_rules! select {
    () => {
        "select d.id, d.cursor, d.conversation_id, e.id as event, e.type as kind, d.state, d.replay, d.attempts, \
         d.not_before, d.created_at, d.ended_at from deliveries d \
         join events e on e.workspace_id = d.workspace_id and e.cursor = d.cursor where d.workspace_id = "
    };
}

from_row!(DeliveryLogEntry, |row| Self {
    id: row.try_get("id")?,
    cursor: row.try_get("cursor")?,
    conversation: row.try_get("conversation_id")?,
    event: row.try_get("event")?,
    kind: row.try_get("kind")?,
    state: row.try_get("state")?,
    replay: row.try_get("replay")?,
    attempts: row.try_get("attempts")?,
    not_before: row.try_get("not_before")?,
    created_at: row.try_get("created_at")?,
    ended_at: row.try_get("ended_at")?,
});

/// At most `limit` deliveries to an endpoint, of events before a cursor, newest event first.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: i64,
    limit: i64,
) -> Result<Vec<DeliveryLogEntry>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(select!());
        query.push_bind(workspace).push(" and d.endpoint_id = ").push_bind(endpoint);
        query.push(" and d.cursor < ").push_bind(before);
        if let Some(state) = state {
            // As a literal, so that the partial indexes apply.
            query.push(" and d.state = '").push(state.as_str()).push("'");
        }
        query.push(" order by d.cursor desc limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    }))
}

/// A delivery of an endpoint.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    id: DeliveryId,
) -> Result<Option<DeliveryLogEntry>, StoreError> {
    const FIND: &str = concat!(select!(), "$1 and d.endpoint_id = $2 and d.id = $3");
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(endpoint).bind(id).fetch_optional(c).await?
    }))
}

from_row!(AttemptLogEntry, |row| Self {
    number: row.try_get("number")?,
    attempt: Attempt {
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        outcome: row.try_get("outcome")?,
        status: row.try_get::<Option<i64>, _>("status")?.and_then(|status| u16::try_from(status).ok()),
        excerpt: row.try_get("excerpt")?,
    },
});

/// The last `limit` attempts of a delivery, in order.
pub async fn last_attempts(
    conn: Conn<'_>,
    key: DeliveryKey,
    limit: i64,
) -> Result<Vec<AttemptLogEntry>, StoreError> {
    const LAST: &str = "select number, started_at, finished_at, status, outcome, excerpt from attempts \
        where workspace_id = $1 and endpoint_id = $2 and cursor = $3 and finished_at is not null \
        order by number desc limit $4";
    let mut attempts: Vec<AttemptLogEntry> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LAST).bind(key.workspace).bind(key.endpoint).bind(key.cursor);
        query.bind(limit).fetch_all(c).await?
    });
    attempts.reverse();
    Ok(attempts)
}

/// Events that are delivered to an endpoint again.
#[derive(Clone, Debug)]
pub struct DeliveryReplay {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    /// In order, each with the id of its delivery, if it has none yet.
    pub events: Vec<(ReplayEvent, DeliveryId)>,
}

/// The cursor of an event, and its conversation.
pub type ReplayEvent = (i64, Option<ConversationId>);

/// Queues deliveries of events, whether or not they were delivered before, and returns how many were queued.
/// A delivery that is running, or waits for its first attempt, stays as it is.
pub async fn enqueue_replay(
    mut conn: Conn<'_>,
    replay: &DeliveryReplay,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    const REQUEUE: &str = " on conflict (workspace_id, endpoint_id, cursor) do update set state = excluded.state, \
        owner = null, fence = deliveries.fence + 1, attempts_before = deliveries.attempts, replay = true, \
        not_before = excluded.not_before, created_at = excluded.created_at, ended_at = null \
        where deliveries.state not in ('queued', 'running') \
        or (deliveries.state = 'queued' and deliveries.attempts > deliveries.attempts_before)";
    let now = store_now(conn.reborrow(), clock).await?;
    let queued = |((cursor, conversation), id): &(ReplayEvent, DeliveryId)| QueuedDelivery {
        delivery: Delivery {
            workspace: replay.workspace,
            endpoint: replay.endpoint,
            cursor: *cursor,
            id: *id,
            conversation: *conversation,
            created_at: now,
        },
        is_replay: true,
    };
    insert_rows(conn, &replay.events.iter().map(queued).collect::<Vec<_>>(), REQUEUE).await
}
