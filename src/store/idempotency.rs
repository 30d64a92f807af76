//! Idempotency keys and the answers that they keep.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, bind_chunks, on_conn, store_now};
use crate::domain::clock::{Clock, Micros};
use crate::domain::idempotency::{IDEMPOTENCY_TTL, IdempotencyKey, IdempotencyRecord};
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::render::RenderedResponse;

#[derive(sqlx::FromRow)]
struct RecordRow {
    workspace_id: WorkspaceId,
    scope: String,
    key: String,
    fingerprint: Vec<u8>,
    turn_id: Option<TurnId>,
    status: Option<i64>,
    body: Option<String>,
    code: Option<String>,
    reason: Option<String>,
    created_at: Micros,
}

impl From<RecordRow> for IdempotencyRecord {
    fn from(row: RecordRow) -> Self {
        let status = row.status.and_then(|status| u16::try_from(status).ok());
        let answer = status.zip(row.body).map(|(status, body)| RenderedResponse {
            status,
            body,
            code: row.code,
            reason: row.reason,
        });
        Self {
            key: IdempotencyKey { workspace: row.workspace_id, scope: row.scope, key: row.key },
            fingerprint: row.fingerprint,
            turn: row.turn_id,
            answer,
            created_at: row.created_at,
        }
    }
}

/// What the named keys keep. Read under the workspaces' locks, which every writer of a key holds.
pub async fn find_many(
    mut conn: Conn<'_>,
    keys: &BTreeSet<IdempotencyKey>,
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    let keys: Vec<_> = keys.iter().collect();
    let mut records = Vec::with_capacity(keys.len());
    for keys in bind_chunks(&keys, 3) {
        let rows: Vec<RecordRow> = on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "select workspace_id, scope, key, fingerprint, turn_id, status, body, code, reason, created_at \
             from idempotency where (workspace_id, scope, key) in (",
            );
            query.push_values(keys, |mut row, key| {
                row.push_bind(key.workspace).push_bind(&key.scope).push_bind(&key.key);
            });
            query.push(")");
            query.build_query_as().fetch_all(c).await?
        });
        records.extend(rows.into_iter().map(IdempotencyRecord::from));
    }
    Ok(records)
}

/// Writes keys, in place of what they kept before.
pub async fn put(mut conn: Conn<'_>, rows: &[&IdempotencyRecord]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 10) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into idempotency (workspace_id, scope, key, fingerprint, turn_id, status, body, code, \
                 reason, created_at) ",
            );
            query.push_values(rows, |mut values, row| {
                let answer = row.answer.as_ref();
                values.push_bind(row.key.workspace).push_bind(&row.key.scope).push_bind(&row.key.key);
                values.push_bind(&row.fingerprint).push_bind(row.turn);
                values.push_bind(answer.map(|answer| i64::from(answer.status)));
                values.push_bind(answer.map(|answer| &answer.body));
                values.push_bind(answer.and_then(|answer| answer.code.as_ref()));
                values.push_bind(answer.and_then(|answer| answer.reason.as_ref()));
                values.push_bind(row.created_at);
            });
            query.push(
                " on conflict (workspace_id, scope, key) do update set fingerprint = excluded.fingerprint, \
             turn_id = excluded.turn_id, status = excluded.status, body = excluded.body, \
             code = excluded.code, reason = excluded.reason, created_at = excluded.created_at",
            );
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Removes at most `limit` keys whose time is over; how many there were.
pub async fn sweep(mut conn: Conn<'_>, limit: i64, clock: &dyn Clock) -> Result<u64, StoreError> {
    // The age is asked for twice: a key that is used again while this waits for its row is young then.
    const SWEEP: &str = "delete from idempotency where created_at < $1 and (workspace_id, scope, key) in \
        (select workspace_id, scope, key from idempotency where created_at < $1 limit $2)";
    let before = store_now(conn.reborrow(), clock).await?.minus(IDEMPOTENCY_TTL);
    Ok(on_conn!(conn, |c| sqlx::query(SWEEP).bind(before).bind(limit).execute(c).await?.rows_affected()))
}
