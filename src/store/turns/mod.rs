//! Turns. This table is also the queue of turns, see [`claims`].

use std::collections::BTreeSet;

use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::turn::Turn;
use crate::store::{
    Columns, Conn, Statements, StoreError, columns, fetch, from_row, insert_row, key_columns, on_conn,
};

insert_row!(Turn, "turns", turn_columns, |turn| {
    "workspace_id": turn.workspace,
    "id": turn.id,
    "conversation_id": turn.conversation,
    "position": turn.position,
    "message_id": turn.message,
    "api": turn.api,
    "state": turn.state,
    "owner": turn.owner,
    "fence": turn.fence,
    "attempts": turn.attempts,
    "takeovers": turn.takeovers,
    "not_before": turn.not_before,
    "admitted_at": turn.admitted_at,
    "first_started_at": turn.first_started_at,
    "deadline_at": turn.deadline_at,
    "price": turn.price,
    "assistant_id": turn.assistant,
    "assistant_version": turn.assistant_version,
    "idempotency_scope": turn.idempotency.as_ref().map(|(scope, _)| scope),
    "idempotency_key": turn.idempotency.as_ref().map(|(_, key)| key),
    "reason": &turn.reason,
    "model_error": &turn.model_error,
    "reply_id": turn.reply,
    "ended_at": turn.ended_at,
    "is_stop_requested": turn.is_stop_requested,
    "stream_process": turn.stream_process,
    "api_key_id": turn.key,
    "retried_by": turn.retried_by,
});

from_row!(Turn, |row| {
    let scope: Option<String> = row.try_get("idempotency_scope")?;
    Self {
        workspace: row.try_get("workspace_id")?,
        id: row.try_get("id")?,
        conversation: row.try_get("conversation_id")?,
        position: row.try_get("position")?,
        message: row.try_get("message_id")?,
        api: row.try_get("api")?,
        state: row.try_get("state")?,
        owner: row.try_get("owner")?,
        fence: row.try_get("fence")?,
        attempts: row.try_get("attempts")?,
        takeovers: row.try_get("takeovers")?,
        not_before: row.try_get("not_before")?,
        admitted_at: row.try_get("admitted_at")?,
        first_started_at: row.try_get("first_started_at")?,
        deadline_at: row.try_get("deadline_at")?,
        price: row.try_get("price")?,
        assistant: row.try_get("assistant_id")?,
        assistant_version: row.try_get("assistant_version")?,
        idempotency: scope.zip(row.try_get("idempotency_key")?),
        reason: row.try_get("reason")?,
        model_error: row.try_get("model_error")?,
        reply: row.try_get("reply_id")?,
        ended_at: row.try_get("ended_at")?,
        is_stop_requested: row.try_get("is_stop_requested")?,
        stream_process: row.try_get("stream_process")?,
        key: row.try_get("api_key_id")?,
        retried_by: row.try_get("retried_by")?,
    }
});

// After the mapping, whose column list they use.
pub mod cancellations;
pub mod claims;
pub mod journal;
pub mod list;
pub mod open;
pub mod overdue;

/// A turn of the workspace.
pub async fn find(conn: Conn<'_>, workspace: WorkspaceId, id: TurnId) -> Result<Option<Turn>, StoreError> {
    const FIND: &str = concat!("select ", turn_columns!(), " from turns where workspace_id = $1 and id = $2");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// The turns among these that were run again, each with the turn that did so.
pub async fn list_retried(
    conn: Conn<'_>,
    ids: &[(WorkspaceId, TurnId)],
) -> Result<Vec<(TurnId, TurnId)>, StoreError> {
    const LIST: &str = "select id, retried_by from new cross join turns where workspace_id = key_workspace \
        and id = key_id and retried_by is not null";
    fetch(conn, &key_columns(), ids, LIST).await
}

/// The turns among these that have ended. The poller of waiting clients asks for all of them at once.
pub async fn list_ended(conn: Conn<'_>, ids: &[(WorkspaceId, TurnId)]) -> Result<Vec<Turn>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        turn_columns!(),
        " from new cross join turns where workspace_id = key_workspace and id = key_id \
         and state in ('completed', 'failed', 'discarded')"
    );
    fetch(conn, &key_columns(), ids, LIST).await
}

/// Locks and reads turns, in the order of their ids.
pub async fn lock(conn: Conn<'_>, ids: &BTreeSet<(WorkspaceId, TurnId)>) -> Result<Vec<Turn>, StoreError> {
    macro_rules! lock {
        ($lock:literal) => {
            concat!(
                "select ",
                turn_columns!(),
                " from new cross join turns where workspace_id = key_workspace and id = key_id order by id",
                $lock
            )
        };
    }
    let lock = conn.pick(lock!(" for no key update of turns"), lock!(""));
    fetch(conn, &key_columns(), ids, lock).await
}

/// The ids of the open turns of conversations.
pub async fn list_open(
    conn: Conn<'_>,
    conversations: &BTreeSet<(WorkspaceId, ConversationId)>,
) -> Result<Vec<(WorkspaceId, TurnId)>, StoreError> {
    const LIST: &str = "select workspace_id, id from new cross join turns where workspace_id = key_workspace \
        and conversation_id = key_id and state in ('waiting', 'queued', 'running')";
    fetch(conn, &key_columns(), conversations, LIST).await
}

pub fn insert(statements: &mut Statements, rows: &[&Turn]) -> Result<(), StoreError> {
    statements.insert(rows.iter().copied(), "")
}

/// Writes the columns that a batch changes.
pub fn update(statements: &mut Statements, rows: &[&Turn]) -> Result<(), StoreError> {
    const ROWS: Columns<Turn> = columns!(|row| {
        "workspace_id": row.workspace,
        "id": row.id,
        "state": row.state,
        "owner": row.owner,
        "fence": row.fence,
        "attempts": row.attempts,
        "takeovers": row.takeovers,
        "not_before": row.not_before,
        "first_started_at": row.first_started_at,
        "reason": &row.reason,
        "reply_id": row.reply,
        "ended_at": row.ended_at,
        "model_error": &row.model_error,
        "is_stop_requested": row.is_stop_requested,
        "stream_process": row.stream_process,
        "retried_by": row.retried_by,
    });
    const UPDATE: &str = "update turns set state = new.state, owner = new.owner, fence = new.fence, \
        attempts = new.attempts, takeovers = new.takeovers, not_before = new.not_before, \
        first_started_at = new.first_started_at, reason = new.reason, reply_id = new.reply_id, \
        ended_at = new.ended_at, model_error = new.model_error, is_stop_requested = new.is_stop_requested, \
        stream_process = new.stream_process, retried_by = new.retried_by \
        from new where turns.workspace_id = new.workspace_id and turns.id = new.id";
    statements.add(&ROWS, rows.iter().copied(), UPDATE)
}
