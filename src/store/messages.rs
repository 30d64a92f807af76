//! Messages of conversations, in order of their position.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::conversation::SenderType;
use crate::domain::ids::{ConversationId, MessageId, TurnId, WorkspaceId};
use crate::domain::message::{Message, MessageRef};

const COLUMNS: &str = "workspace_id, conversation_id, position, id, sender_type, sender_id, text, metadata, \
    reply_to_id, answers, function_calls, turn_id, created_at";

#[derive(sqlx::FromRow)]
struct MessageRow {
    workspace_id: WorkspaceId,
    conversation_id: ConversationId,
    position: i64,
    id: MessageId,
    sender_type: SenderType,
    sender_id: String,
    text: String,
    metadata: Option<String>,
    reply_to_id: Option<MessageId>,
    answers: Option<i64>,
    function_calls: Option<String>,
    turn_id: Option<TurnId>,
    created_at: Micros,
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        Self {
            workspace: row.workspace_id,
            conversation: row.conversation_id,
            position: row.position,
            id: row.id,
            sender_type: row.sender_type,
            sender_id: row.sender_id,
            text: row.text,
            metadata: row.metadata,
            reply_to: row.reply_to_id,
            answers: row.answers,
            function_calls: row.function_calls,
            turn: row.turn_id,
            created_at: row.created_at,
        }
    }
}

/// A message of the workspace.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Message>, StoreError> {
    let found: Option<MessageRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from messages where workspace_id = ").push_bind(workspace);
        query.push(" and id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Message::from))
}

/// Which messages of a conversation are listed, by position.
#[derive(Clone, Copy)]
enum MessageRange {
    /// The oldest after this one.
    After(i64),
    /// The newest up to this one.
    UpTo(i64),
    /// The newest replies to what is before this one that stand after it.
    LateReplies(i64),
}

/// The messages after a position (0: from the first), the oldest first.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    list(conn, workspace, conversation, MessageRange::After(after), limit).await
}

/// The newest `limit` messages up to a position, the oldest of them first.
pub async fn list_newest(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    up_to: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    list(conn, workspace, conversation, MessageRange::UpTo(up_to), limit).await
}

/// The newest `limit` replies to messages before a position that stand after it, the oldest of them first.
pub async fn list_late_replies(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    list(conn, workspace, conversation, MessageRange::LateReplies(position), limit).await
}

async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    range: MessageRange,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    let mut rows: Vec<MessageRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from messages where workspace_id = ").push_bind(workspace);
        query.push(" and conversation_id = ").push_bind(conversation).push(" and position ");
        match range {
            MessageRange::After(position) => query.push("> ").push_bind(position).push(" order by position"),
            MessageRange::UpTo(position) => {
                query.push("<= ").push_bind(position).push(" order by position desc")
            }
            MessageRange::LateReplies(position) => {
                query.push("> ").push_bind(position).push(" and answers < ").push_bind(position);
                query.push(" order by position desc")
            }
        };
        query.push(" limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    rows.sort_by_key(|row| row.position);
    Ok(rows.into_iter().map(Message::from).collect())
}

/// Where the named messages stand, those of them that there are.
pub async fn find_refs(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, MessageId)>,
) -> Result<Vec<(MessageId, MessageRef)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(MessageId, WorkspaceId, ConversationId, i64)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select id, workspace_id, conversation_id, position from messages where (workspace_id, id) in (",
        );
        query.push_values(ids, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    let message_ref =
        |(id, workspace, conversation, position)| (id, MessageRef { workspace, conversation, position });
    Ok(rows.into_iter().map(message_ref).collect())
}

pub async fn insert(conn: Conn<'_>, rows: &[Message]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into messages (");
        query.push(COLUMNS).push(") ");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.workspace).push_bind(row.conversation).push_bind(row.position);
            values.push_bind(row.id).push_bind(row.sender_type).push_bind(&row.sender_id);
            values.push_bind(&row.text).push_bind(&row.metadata).push_bind(row.reply_to);
            values.push_bind(row.answers).push_bind(&row.function_calls).push_bind(row.turn);
            values.push_bind(row.created_at);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}
