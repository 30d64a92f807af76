//! Turns. This table is also the queue of turns, see [`claims`].

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::turn::Turn;
use crate::store::{Conn, StoreError, bind_chunks, from_row, insert_row, insert_rows, on_conn};

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
    }
});

// After the mapping, whose column list they use.
pub mod cancellations;
pub mod claims;
pub mod journal;
pub mod open;
pub mod overdue;

/// A turn of the workspace.
pub async fn find(conn: Conn<'_>, workspace: WorkspaceId, id: TurnId) -> Result<Option<Turn>, StoreError> {
    const FIND: &str = concat!("select ", turn_columns!(), " from turns where workspace_id = $1 and id = $2");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// The turns among these that have ended. The poller of waiting clients asks for all of them at once.
pub async fn list_ended(mut conn: Conn<'_>, ids: &[(WorkspaceId, TurnId)]) -> Result<Vec<Turn>, StoreError> {
    let mut turns = Vec::new();
    for ids in bind_chunks(ids, 2) {
        turns.extend(on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(concat!(
                "select ",
                turn_columns!(),
                " from turns where (workspace_id, id) in ("
            ));
            query.push_values(ids, |mut row, (workspace, id)| {
                row.push_bind(*workspace).push_bind(*id);
            });
            query.push(") and state in ('completed', 'failed', 'discarded')");
            query.build_query_as::<Turn>().fetch_all(c).await?
        }));
    }
    Ok(turns)
}

/// Locks and reads turns, in the order of their ids.
pub async fn lock(
    mut conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, TurnId)>,
) -> Result<Vec<Turn>, StoreError> {
    let lock = conn.row_lock();
    let mut ids: Vec<_> = ids.iter().copied().collect();
    ids.sort_unstable_by_key(|(_, id)| *id);
    let mut turns = Vec::with_capacity(ids.len());
    for ids in bind_chunks(&ids, 2) {
        turns.extend(on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(concat!(
                "select ",
                turn_columns!(),
                " from turns where (workspace_id, id) in ("
            ));
            query.push_values(ids, |mut row, (workspace, id)| {
                row.push_bind(*workspace).push_bind(*id);
            });
            query.push(") order by id").push(lock);
            query.build_query_as::<Turn>().fetch_all(c).await?
        }));
    }
    Ok(turns)
}

/// The ids of the open turns of conversations.
pub async fn list_open(
    conn: Conn<'_>,
    conversations: &BTreeSet<(WorkspaceId, ConversationId)>,
) -> Result<Vec<(WorkspaceId, TurnId)>, StoreError> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select workspace_id, id from turns where state in ('waiting', 'queued', 'running') \
             and (workspace_id, conversation_id) in (",
        );
        query.push_values(conversations, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    }))
}

pub async fn insert(conn: Conn<'_>, rows: &[&Turn]) -> Result<(), StoreError> {
    insert_rows(conn, rows, "").await?;
    Ok(())
}

/// Writes the columns that a batch changes.
pub async fn update(mut conn: Conn<'_>, rows: &[&Turn]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 12) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "update turns set state = new.column3, owner = new.column4, fence = new.column5, \
                 attempts = new.column6, not_before = new.column7, first_started_at = new.column8, \
                 reason = new.column9, reply_id = new.column10, ended_at = new.column11, \
                 model_error = new.column12 from (",
            );
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.id).push_bind(row.state);
                values.push_bind(row.owner).push_bind(row.fence).push_bind(row.attempts);
                values.push_bind(row.not_before).push_bind(row.first_started_at);
                values.push_bind(&row.reason).push_bind(row.reply).push_bind(row.ended_at);
                values.push_bind(&row.model_error);
            });
            query.push(") as new where workspace_id = new.column1 and id = new.column2");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
