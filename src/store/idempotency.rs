//! Idempotency keys, with the responses recorded for them.

use std::collections::BTreeSet;

use super::{
    Columns, Conn, Statements, StoreError, columns, execute, fetch, from_row, insert_row, insert_rows,
    on_conn, store_now,
};
use crate::domain::clock::Clock;
use crate::domain::idempotency::{IDEMPOTENCY_TTL, IdempotencyKey, IdempotencyRecord, StoredAnswer};
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::render::RenderedResponse;

insert_row!(IdempotencyRecord, "idempotency", |record| {
    "workspace_id": record.key.workspace,
    "scope": &record.key.scope,
    "key": &record.key.key,
    "fingerprint": &record.fingerprint,
    "turn_id": record.turn,
    "conversation_id": record.conversation,
    "status": record.answer.to_store().map(|answer| i64::from(answer.status)),
    "body": record.answer.to_store().map(|answer| &answer.body),
    "code": record.answer.to_store().and_then(|answer| answer.code.as_ref()),
    "reason": record.answer.to_store().and_then(|answer| answer.reason.as_ref()),
    "warning": &record.warning,
    "created_at": record.created_at,
});

/// Without the response.
macro_rules! record_columns {
    () => {
        "workspace_id, scope, key, fingerprint, turn_id, conversation_id, status is not null as is_answered, warning, \
         created_at"
    };
}

from_row!(IdempotencyRecord, |row| Self {
    key: IdempotencyKey {
        workspace: row.try_get("workspace_id")?,
        scope: row.try_get("scope")?,
        key: row.try_get("key")?,
    },
    fingerprint: row.try_get("fingerprint")?,
    turn: row.try_get("turn_id")?,
    conversation: row.try_get("conversation_id")?,
    answer: if row.try_get("is_answered")? { StoredAnswer::Stored } else { StoredAnswer::Open },
    warning: row.try_get("warning")?,
    created_at: row.try_get("created_at")?,
});

/// The records of keys, without their responses. Read under the workspaces' locks, which every writer of a key takes.
pub async fn find_many(
    conn: Conn<'_>,
    keys: &BTreeSet<IdempotencyKey>,
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    const KEYS: Columns<IdempotencyKey> =
        columns!(|key| { "key_workspace": key.workspace, "key_scope": &key.scope, "key_text": &key.key });
    const FIND: &str = concat!(
        "select ",
        record_columns!(),
        " from new cross join idempotency where workspace_id = key_workspace and scope = key_scope and key = key_text"
    );
    fetch(conn, &KEYS, keys, FIND).await
}

/// The response of a key, if there is one.
pub async fn find_answer(
    conn: Conn<'_>,
    key: &IdempotencyKey,
) -> Result<Option<RenderedResponse>, StoreError> {
    const FIND: &str = "select status, body, code, reason from idempotency \
        where workspace_id = $1 and scope = $2 and key = $3 and status is not null and body is not null";
    type AnswerRow = (i64, String, Option<String>, Option<String>);
    let found: Option<AnswerRow> = on_conn!(conn, |c| {
        let query = sqlx::query_as(FIND).bind(key.workspace).bind(&key.scope).bind(&key.key);
        query.fetch_optional(c).await?
    });
    Ok(found.and_then(|(status, body, code, reason)| {
        Some(RenderedResponse { status: u16::try_from(status).ok()?, body, code, reason })
    }))
}

/// Writes records. The previous record of a key is replaced, so a record that was read must not be written without an answer.
pub fn put(statements: &mut Statements, rows: &[&IdempotencyRecord]) -> Result<(), StoreError> {
    const REPLACE: &str = " on conflict (workspace_id, scope, key) do update \
        set fingerprint = excluded.fingerprint, turn_id = excluded.turn_id, \
        conversation_id = excluded.conversation_id, status = excluded.status, \
        body = excluded.body, code = excluded.code, reason = excluded.reason, warning = excluded.warning, \
        created_at = excluded.created_at";
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

/// Replaces at most `limit` records with responses of a deleted conversation by digests of their keys, under which a repeated request
/// that would create it again is refused. Returns how many were replaced.
pub async fn erase(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    limit: i64,
) -> Result<usize, StoreError> {
    const FIND: &str = concat!(
        "select ",
        record_columns!(),
        " from idempotency where workspace_id = $1 and conversation_id = $2 and length(fingerprint) > 1 limit $3"
    );
    let records: Vec<IdempotencyRecord> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(FIND).bind(workspace).bind(conversation).bind(limit).fetch_all(c).await?
    });
    replace_by_digests(conn, &records).await?;
    Ok(records.len())
}

/// Replaces the records in a scope whose response has this JSON text, the id of an erased booking, by digests of their keys, under which
/// a repeated request is refused.
pub async fn erase_with_text(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    scope: &str,
    text: &str,
) -> Result<(), StoreError> {
    const FIND: &str = concat!(
        "select ",
        record_columns!(),
        " from idempotency where workspace_id = $1 and scope = $2 and body like '%' || $3 || '%' and length(fingerprint) > 1"
    );
    let mut records: Vec<IdempotencyRecord> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(FIND).bind(workspace).bind(scope).bind(text).fetch_all(c).await?
    });
    // The booking was erased, and its conversation, if there is one, was not.
    for record in &mut records {
        record.conversation = None;
    }
    replace_by_digests(conn, &records).await
}

async fn replace_by_digests(mut conn: Conn<'_>, records: &[IdempotencyRecord]) -> Result<(), StoreError> {
    const KEYS: Columns<IdempotencyRecord> = columns!(|record| {
        "key_workspace": record.key.workspace,
        "key_scope": &record.key.scope,
        "key_text": &record.key.key,
    });
    const REMOVE: &str = "delete from idempotency where (workspace_id, scope, key) in \
        (select key_workspace, key_scope, key_text from new)";
    execute(conn.reborrow(), &KEYS, records, REMOVE).await?;
    let digests: Vec<IdempotencyRecord> = records
        .iter()
        .map(|record| IdempotencyRecord {
            key: record.key.erased(),
            // That of no request.
            fingerprint: vec![0],
            turn: None,
            conversation: record.conversation,
            answer: StoredAnswer::Open,
            warning: None,
            created_at: record.created_at,
        })
        .collect();
    insert_rows(conn, &digests, " on conflict (workspace_id, scope, key) do nothing").await?;
    Ok(())
}
