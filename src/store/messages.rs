//! Messages of conversations, in order of their position.

use std::collections::BTreeSet;

use super::{Conn, Statements, StoreError, fetch, key_columns, map_row, on_conn};
use crate::domain::ids::{ConversationId, MessageId, WorkspaceId};
use crate::domain::message::{Message, MessageRef};

map_row!(
    Message,
    "messages",
    message_columns {
        workspace: "workspace_id",
        conversation: "conversation_id",
        position: "position",
        id: "id",
        sender_type: "sender_type",
        sender_id: "sender_id",
        text: "text",
        metadata: "metadata",
        reply_to: "reply_to_id",
        answers: "answers",
        function_calls: "function_calls",
        is_truncated: "is_truncated",
        turn: "turn_id",
        created_at: "created_at",
    }
);

/// A message of the workspace.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: MessageId,
) -> Result<Option<Message>, StoreError> {
    const FIND: &str =
        concat!("select ", message_columns!(), " from messages where workspace_id = $1 and id = $2");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// The messages after a position (0: from the first), oldest first.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        message_columns!(),
        " from messages where workspace_id = $1 and conversation_id = $2 and position > $3 \
         order by position limit $4"
    );
    list(conn, LIST, workspace, conversation, after, limit).await
}

/// The newest `limit` messages up to a position, oldest first.
pub async fn list_newest(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    up_to: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        message_columns!(),
        " from messages where workspace_id = $1 and conversation_id = $2 and position <= $3 \
         order by position desc limit $4"
    );
    list(conn, LIST, workspace, conversation, up_to, limit).await
}

/// The most that one read returns.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    pub rows: i64,
    /// Of texts, metadata and function calls.
    pub bytes: i64,
}

/// The newest messages under a condition on `position` and `$3`: at most `$4`, and as many as fulfil a condition on `bytes`, the
/// size of a message (`size`) and all newer ones. Large columns are read of these messages only.
macro_rules! newest_within {
    ($condition:literal, $fits:literal) => {
        concat!(
            "select ",
            message_columns!(),
            " from messages where workspace_id = $1 and conversation_id = $2 and ",
            $condition,
            " and position >= (select min(nth) from (\
             select nth, size, sum(size) over (order by nth desc rows unbounded preceding) as bytes from (\
             select position as nth, octet_length(text) + coalesce(octet_length(metadata), 0) \
             + coalesce(octet_length(function_calls), 0) as size \
             from messages where workspace_id = $1 and conversation_id = $2 and ",
            $condition,
            " order by position desc limit $4) as newest) as summed where ",
            $fits,
            ")"
        )
    };
}

/// The newest messages up to a position, within the limit but at least one, oldest first.
pub async fn list_newest_within(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    up_to: i64,
    limit: ReadLimit,
) -> Result<Vec<Message>, StoreError> {
    const LIST: &str = newest_within!("position <= $3", "bytes <= $5 or bytes = size");
    list_within(conn, LIST, workspace, conversation, up_to, limit).await
}

/// The newest messages after a position that reply to messages before it, within the limit, oldest first.
pub async fn list_late_replies(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: ReadLimit,
) -> Result<Vec<Message>, StoreError> {
    const LIST: &str = newest_within!("position > $3 and answers < $3", "bytes <= $5");
    list_within(conn, LIST, workspace, conversation, position, limit).await
}

/// Runs one of the two lists within a limit and returns its messages in order of position.
async fn list_within(
    conn: Conn<'_>,
    statement: &'static str,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: ReadLimit,
) -> Result<Vec<Message>, StoreError> {
    let mut messages: Vec<Message> = on_conn!(conn, |c| {
        let query = sqlx::query_as(statement).bind(workspace).bind(conversation).bind(position);
        query.bind(limit.rows).bind(limit.bytes).fetch_all(c).await?
    });
    messages.sort_by_key(|message| message.position);
    Ok(messages)
}

/// Runs one of the other two lists and returns its messages in order of position.
async fn list(
    conn: Conn<'_>,
    statement: &'static str,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    let mut messages: Vec<Message> = on_conn!(conn, |c| {
        let query = sqlx::query_as(statement).bind(workspace).bind(conversation).bind(position);
        query.bind(limit).fetch_all(c).await?
    });
    messages.sort_by_key(|message| message.position);
    Ok(messages)
}

/// The positions of messages. Unknown ids are left out.
pub async fn find_refs(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, MessageId)>,
) -> Result<Vec<(MessageId, MessageRef)>, StoreError> {
    const FIND: &str = "select id, workspace_id, conversation_id, position from new cross join messages \
        where workspace_id = key_workspace and id = key_id";
    let rows: Vec<(MessageId, WorkspaceId, ConversationId, i64)> =
        fetch(conn, &key_columns(), ids, FIND).await?;
    let message_ref =
        |(id, workspace, conversation, position)| (id, MessageRef { workspace, conversation, position });
    Ok(rows.into_iter().map(message_ref).collect())
}

pub fn insert(statements: &mut Statements, rows: &[Message]) -> Result<(), StoreError> {
    statements.insert(rows, "")
}
