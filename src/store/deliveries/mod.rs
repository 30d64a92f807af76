//! Events on their way to webhook endpoints.

pub mod attempts;
pub mod claims;
pub mod log;

use sqlx::QueryBuilder;

use crate::domain::event::Delivery;
use crate::store::{Conn, StoreError, bind_chunks, on_conn};

pub async fn insert(mut conn: Conn<'_>, rows: &[Delivery]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 12) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into deliveries (workspace_id, endpoint_id, cursor, id, conversation_id, state, fence, \
                 attempts, attempts_before, replay, not_before, created_at) ",
            );
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.endpoint).push_bind(row.cursor);
                values.push_bind(row.id).push_bind(row.conversation).push_bind("queued");
                values.push_bind(0_i64).push_bind(0_i64).push_bind(0_i64).push_bind(false);
                values.push_bind(row.created_at).push_bind(row.created_at);
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
