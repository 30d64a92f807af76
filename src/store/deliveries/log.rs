//! Deliveries as the platform door tells of them, and asks for them again.

use sqlx::QueryBuilder;

use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{Attempt, AttemptOutcome, DeliveryKey, DeliveryState};
use crate::domain::delivery_log::{AttemptLogEntry, DeliveryLogEntry};
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, DeliveryId, EndpointId, EventId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn, store_now};

const SELECT: &str = "select d.id, d.cursor, d.conversation_id, e.id as event, e.type as kind, d.state, d.replay, d.attempts, \
    d.not_before, d.created_at, d.ended_at from deliveries d \
    join events e on e.workspace_id = d.workspace_id and e.cursor = d.cursor where d.workspace_id = ";

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: DeliveryId,
    cursor: i64,
    conversation_id: Option<ConversationId>,
    event: EventId,
    kind: EventType,
    state: DeliveryState,
    replay: bool,
    attempts: i64,
    not_before: Micros,
    created_at: Micros,
    ended_at: Option<Micros>,
}

impl From<DeliveryRow> for DeliveryLogEntry {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            cursor: row.cursor,
            conversation: row.conversation_id,
            event: row.event,
            kind: row.kind,
            state: row.state,
            replay: row.replay,
            attempts: row.attempts,
            not_before: row.not_before,
            created_at: row.created_at,
            ended_at: row.ended_at,
        }
    }
}

/// At most `limit` deliveries to an endpoint of events before a cursor, the newest event's first.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: i64,
    limit: i64,
) -> Result<Vec<DeliveryLogEntry>, StoreError> {
    let rows: Vec<DeliveryRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(SELECT);
        query.push_bind(workspace).push(" and d.endpoint_id = ").push_bind(endpoint);
        query.push(" and d.cursor < ").push_bind(before);
        if let Some(state) = state {
            // As text, so that the partial indexes serve.
            query.push(" and d.state = '").push(state.as_str()).push("'");
        }
        query.push(" order by d.cursor desc limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(DeliveryLogEntry::from).collect())
}

/// A delivery of an endpoint.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    id: DeliveryId,
) -> Result<Option<DeliveryLogEntry>, StoreError> {
    let row: Option<DeliveryRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(SELECT);
        query.push_bind(workspace).push(" and d.id = ").push_bind(id);
        query.push(" and d.endpoint_id = ").push_bind(endpoint);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(row.map(DeliveryLogEntry::from))
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: i64,
    started_at: Micros,
    finished_at: Micros,
    status: Option<i64>,
    outcome: AttemptOutcome,
    excerpt: Option<String>,
}

impl From<AttemptRow> for AttemptLogEntry {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            attempt: Attempt {
                started_at: row.started_at,
                finished_at: row.finished_at,
                outcome: row.outcome,
                status: row.status.and_then(|status| u16::try_from(status).ok()),
                excerpt: row.excerpt,
            },
        }
    }
}

/// The last attempts of a delivery, at most `limit`, in order.
pub async fn last_attempts(
    conn: Conn<'_>,
    key: DeliveryKey,
    limit: i64,
) -> Result<Vec<AttemptLogEntry>, StoreError> {
    const LAST: &str = "select number, started_at, finished_at, status, outcome, excerpt from attempts \
        where workspace_id = $1 and endpoint_id = $2 and cursor = $3 and finished_at is not null \
        order by number desc limit $4";
    let rows: Vec<AttemptRow> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LAST).bind(key.workspace).bind(key.endpoint).bind(key.cursor);
        query.bind(limit).fetch_all(c).await?
    });
    Ok(rows.into_iter().rev().map(AttemptLogEntry::from).collect())
}

/// What is delivered again.
#[derive(Clone, Debug)]
pub struct DeliveryReplay {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    /// Of events, in order, each with an id for the delivery that it may not have yet.
    pub events: Vec<(ReplayEvent, DeliveryId)>,
}

/// An event that is delivered again, by its cursor, and the conversation that it is of.
pub type ReplayEvent = (i64, Option<ConversationId>);

/// Queues deliveries of events, whether they were delivered before or not; how many they were. What is
/// being sent, or is to be sent for the first time, stays as it is.
pub async fn enqueue_replay(
    mut conn: Conn<'_>,
    replay: &DeliveryReplay,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    if replay.events.is_empty() {
        return Ok(0);
    }
    let now = store_now(conn.reborrow(), clock).await?;
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "insert into deliveries (workspace_id, endpoint_id, cursor, id, conversation_id, state, fence, \
             attempts, attempts_before, replay, not_before, created_at) ",
        );
        query.push_values(&replay.events, |mut values, ((cursor, conversation), id)| {
            values.push_bind(replay.workspace).push_bind(replay.endpoint).push_bind(*cursor);
            values.push_bind(*id).push_bind(*conversation).push_bind(DeliveryState::Queued);
            values.push_bind(0_i64).push_bind(0_i64).push_bind(0_i64).push_bind(true);
            values.push_bind(now).push_bind(now);
        });
        query.push(
            " on conflict (workspace_id, endpoint_id, cursor) do update set state = excluded.state, \
             owner = null, fence = deliveries.fence + 1, attempts_before = deliveries.attempts, replay = true, \
             not_before = excluded.not_before, created_at = excluded.created_at, ended_at = null \
             where deliveries.state not in ('queued', 'running') \
             or (deliveries.state = 'queued' and deliveries.attempts > deliveries.attempts_before)",
        );
        query.build().execute(c).await?.rows_affected()
    }))
}
