//! Deliveries of events to webhook endpoints.

use crate::domain::delivery::DeliveryState;
use crate::domain::event::Delivery;
use crate::store::{Conn, Statements, StoreError, insert_row, on_conn};

/// A delivery that waits for its first attempt, or for the first attempt of a replay.
struct QueuedDelivery {
    delivery: Delivery,
    is_replay: bool,
}

insert_row!(QueuedDelivery, "deliveries", |row| {
    "workspace_id": row.delivery.workspace,
    "endpoint_id": row.delivery.endpoint,
    "cursor": row.delivery.cursor,
    "id": row.delivery.id,
    "conversation_id": row.delivery.conversation,
    "state": DeliveryState::Queued,
    "fence": 0_i64,
    "attempts": 0_i64,
    "attempts_before": 0_i64,
    "replay": row.is_replay,
    "not_before": row.delivery.created_at,
    "created_at": row.delivery.created_at,
});

pub mod attempts;
pub mod claims;
pub mod log;

pub fn insert(statements: &mut Statements, rows: &[Delivery]) -> Result<(), StoreError> {
    let queued = |delivery: &Delivery| QueuedDelivery { delivery: *delivery, is_replay: false };
    statements.insert(&rows.iter().map(queued).collect::<Vec<_>>(), "")
}

/// The number of deliveries that are still to be sent, of all workspaces.
pub async fn count_open(conn: Conn<'_>) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from deliveries where state in ('queued', 'running')";
    Ok(on_conn!(conn, |c| sqlx::query_scalar(COUNT).fetch_one(c).await?))
}
