//! Idempotency keys, with the responses recorded for them.

use std::collections::BTreeSet;

use super::{
    Columns, Conn, Statements, StoreError, columns, fetch, from_row, insert_row, on_conn, store_now,
};
use crate::domain::clock::Clock;
use crate::domain::idempotency::{IDEMPOTENCY_TTL, IdempotencyKey, IdempotencyRecord};
use crate::domain::render::RenderedResponse;

insert_row!(IdempotencyRecord, "idempotency", idempotency_columns, |record| {
    "workspace_id": record.key.workspace,
    "scope": &record.key.scope,
    "key": &record.key.key,
    "fingerprint": &record.fingerprint,
    "turn_id": record.turn,
    "status": record.answer.as_ref().map(|answer| i64::from(answer.status)),
    "body": record.answer.as_ref().map(|answer| &answer.body),
    "code": record.answer.as_ref().and_then(|answer| answer.code.as_ref()),
    "reason": record.answer.as_ref().and_then(|answer| answer.reason.as_ref()),
    "created_at": record.created_at,
});

from_row!(IdempotencyRecord, |row| {
    let status = row.try_get::<Option<i64>, _>("status")?.and_then(|status| u16::try_from(status).ok());
    let (code, reason) = (row.try_get("code")?, row.try_get("reason")?);
    let answer = status.zip(row.try_get("body")?);
    Self {
        key: IdempotencyKey {
            workspace: row.try_get("workspace_id")?,
            scope: row.try_get("scope")?,
            key: row.try_get("key")?,
        },
        fingerprint: row.try_get("fingerprint")?,
        turn: row.try_get("turn_id")?,
        answer: answer.map(|(status, body)| RenderedResponse { status, body, code, reason }),
        created_at: row.try_get("created_at")?,
    }
});

/// The records of keys. Read under the workspaces' locks, which every writer of a key takes.
pub async fn find_many(
    conn: Conn<'_>,
    keys: &BTreeSet<IdempotencyKey>,
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    const KEYS: Columns<IdempotencyKey> =
        columns!(|key| { "key_workspace": key.workspace, "key_scope": &key.scope, "key_text": &key.key });
    const FIND: &str = concat!(
        "select ",
        idempotency_columns!(),
        " from new cross join idempotency where workspace_id = key_workspace and scope = key_scope and key = key_text"
    );
    fetch(conn, &KEYS, keys, FIND).await
}

/// Writes records. The previous record of a key is replaced.
pub fn put(statements: &mut Statements, rows: &[&IdempotencyRecord]) -> Result<(), StoreError> {
    const REPLACE: &str = " on conflict (workspace_id, scope, key) do update \
        set fingerprint = excluded.fingerprint, turn_id = excluded.turn_id, status = excluded.status, \
        body = excluded.body, code = excluded.code, reason = excluded.reason, created_at = excluded.created_at";
    statements.insert(rows.iter().copied(), REPLACE)
}

/// Removes at most `limit` expired keys and returns how many were removed.
pub async fn sweep(mut conn: Conn<'_>, limit: i64, clock: &dyn Clock) -> Result<u64, StoreError> {
    // The age is compared twice: a key may be reused while this statement waits for its row.
    const SWEEP: &str = "delete from idempotency where created_at < $1 and (workspace_id, scope, key) in \
        (select workspace_id, scope, key from idempotency where created_at < $1 limit $2)";
    let before = store_now(conn.reborrow(), clock).await?.minus(IDEMPOTENCY_TTL);
    Ok(on_conn!(conn, |c| sqlx::query(SWEEP).bind(before).bind(limit).execute(c).await?.rows_affected()))
}
