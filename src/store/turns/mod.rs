//! Turns: the queue is this table itself.

pub mod cancellations;
pub mod claims;
pub mod journal;
pub mod overdue;

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, ProcessId, TurnId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::turn::{Api, Turn, TurnState};
use crate::store::{Conn, StoreError, bind_chunks, on_conn};

const COLUMNS: &str = "workspace_id, id, conversation_id, position, message_id, api, state, owner, \
    fence, attempts, takeovers, not_before, admitted_at, first_started_at, deadline_at, price, assistant_id, \
    assistant_version, idempotency_scope, idempotency_key, reason, reply_id, ended_at";

#[derive(sqlx::FromRow)]
struct TurnRow {
    workspace_id: WorkspaceId,
    id: TurnId,
    conversation_id: ConversationId,
    position: i64,
    message_id: MessageId,
    api: Api,
    state: TurnState,
    owner: Option<ProcessId>,
    fence: i64,
    attempts: i64,
    takeovers: i64,
    not_before: Micros,
    admitted_at: Micros,
    first_started_at: Option<Micros>,
    deadline_at: Option<Micros>,
    price: Money,
    assistant_id: AssistantId,
    assistant_version: i64,
    idempotency_scope: Option<String>,
    idempotency_key: Option<String>,
    reason: Option<String>,
    reply_id: Option<MessageId>,
    ended_at: Option<Micros>,
}

impl From<TurnRow> for Turn {
    fn from(row: TurnRow) -> Self {
        Self {
            workspace: row.workspace_id,
            id: row.id,
            conversation: row.conversation_id,
            position: row.position,
            message: row.message_id,
            api: row.api,
            state: row.state,
            owner: row.owner,
            fence: row.fence,
            attempts: row.attempts,
            takeovers: row.takeovers,
            not_before: row.not_before,
            admitted_at: row.admitted_at,
            first_started_at: row.first_started_at,
            deadline_at: row.deadline_at,
            price: row.price,
            assistant: row.assistant_id,
            assistant_version: row.assistant_version,
            idempotency: row.idempotency_scope.zip(row.idempotency_key),
            reason: row.reason,
            reply: row.reply_id,
            ended_at: row.ended_at,
        }
    }
}

/// A turn of the workspace.
pub async fn find(conn: Conn<'_>, workspace: WorkspaceId, id: TurnId) -> Result<Option<Turn>, StoreError> {
    let found: Option<TurnRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from turns where workspace_id = ").push_bind(workspace);
        query.push(" and id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Turn::from))
}

/// Those of the named turns that have ended: what the poller of waiting clients asks, all at once.
pub async fn list_ended(mut conn: Conn<'_>, ids: &[(WorkspaceId, TurnId)]) -> Result<Vec<Turn>, StoreError> {
    let mut turns = Vec::new();
    for ids in bind_chunks(ids, 2) {
        let rows: Vec<TurnRow> = on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("select ");
            query.push(COLUMNS).push(" from turns where (workspace_id, id) in (");
            query.push_values(ids, |mut row, (workspace, id)| {
                row.push_bind(*workspace).push_bind(*id);
            });
            query.push(") and state in ('completed', 'failed', 'discarded')");
            query.build_query_as().fetch_all(c).await?
        });
        turns.extend(rows.into_iter().map(Turn::from));
    }
    Ok(turns)
}

/// Locks and reads the named turns, in order of their ids.
pub async fn lock(
    mut conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, TurnId)>,
) -> Result<Vec<Turn>, StoreError> {
    let lock = conn.row_lock();
    let mut ids: Vec<_> = ids.iter().copied().collect();
    ids.sort_unstable_by_key(|(_, id)| *id);
    let mut turns = Vec::with_capacity(ids.len());
    for ids in bind_chunks(&ids, 2) {
        let rows: Vec<TurnRow> = on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("select ");
            query.push(COLUMNS).push(" from turns where (workspace_id, id) in (");
            query.push_values(ids, |mut row, (workspace, id)| {
                row.push_bind(*workspace).push_bind(*id);
            });
            query.push(") order by id").push(lock);
            query.build_query_as().fetch_all(c).await?
        });
        turns.extend(rows.into_iter().map(Turn::from));
    }
    Ok(turns)
}

/// The ids of the open turns of conversations; their rows are then locked with the others.
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
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into turns (");
        query.push(COLUMNS).push(") ");
        query.push_values(rows, |mut values, row| {
            let (scope, key) = row.idempotency.clone().unzip();
            values.push_bind(row.workspace).push_bind(row.id).push_bind(row.conversation);
            values.push_bind(row.position).push_bind(row.message).push_bind(row.api);
            values.push_bind(row.state).push_bind(row.owner).push_bind(row.fence);
            values.push_bind(row.attempts).push_bind(row.takeovers).push_bind(row.not_before);
            values.push_bind(row.admitted_at).push_bind(row.first_started_at);
            values.push_bind(row.deadline_at).push_bind(row.price).push_bind(row.assistant);
            values.push_bind(row.assistant_version).push_bind(scope).push_bind(key);
            values.push_bind(&row.reason).push_bind(row.reply).push_bind(row.ended_at);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

/// Writes what a batch changes of turns that are there.
pub async fn update(mut conn: Conn<'_>, rows: &[&Turn]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 11) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "update turns set state = new.column3, owner = new.column4, fence = new.column5, \
                 attempts = new.column6, not_before = new.column7, first_started_at = new.column8, \
                 reason = new.column9, reply_id = new.column10, ended_at = new.column11 from (",
            );
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.id).push_bind(row.state);
                values.push_bind(row.owner).push_bind(row.fence).push_bind(row.attempts);
                values.push_bind(row.not_before).push_bind(row.first_started_at);
                values.push_bind(&row.reason).push_bind(row.reply).push_bind(row.ended_at);
            });
            query.push(") as new where workspace_id = new.column1 and id = new.column2");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
