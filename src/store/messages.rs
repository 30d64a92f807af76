//! Messages of conversations, in order of their position.

use std::collections::BTreeSet;

use super::{
    Columns, Conn, PageRow, PageRows, ReadLimit, Statements, StoreError, columns, execute, fetch, from_row,
    key_columns, map_row, on_conn, page_of,
};
use crate::domain::clock::Micros;
use crate::domain::ids::{ConversationId, MessageId, WorkspaceId};
use crate::domain::message::{Feedback, Message, MessageRef, RatedMessage};

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
        is_stopped: "is_stopped",
        earlier_texts: "earlier_texts",
        turn: "turn_id",
        created_at: "created_at",
        rating: "rating",
        rating_comment: "rating_comment",
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

/// Messages under a condition on `position` and `$3`, at most `$4`, in an order of their positions, of which those are read that fulfil
/// a condition on `nth` and `bytes`.
macro_rules! list {
    ($condition:literal, $order:literal, $fits:literal) => {
        concat!(
            "select ",
            message_columns!(),
            ", candidates from ",
            page_of!(
                keys: (
                    "select position as page_position, octet_length(text) + coalesce(octet_length(metadata), 0) \
                     + coalesce(octet_length(function_calls), 0) \
                     + coalesce(octet_length(earlier_texts), 0) \
                     + coalesce(octet_length(rating_comment), 0) as row_size \
                     from messages where workspace_id = $1 and conversation_id = $2 and ",
                    $condition,
                    " order by position",
                    $order,
                    " limit $4 + 1"
                ),
                order: ("page_position", $order),
                fits: $fits
            ),
            " cross join messages where workspace_id = $1 and conversation_id = $2 and position = page_position \
             order by position"
        )
    };
}

/// The first messages after a position (0: from the first), oldest first.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: i64,
    limit: ReadLimit,
) -> Result<PageRows<Message>, StoreError> {
    const LIST: &str = list!("position > $3", "", "nth <= $4 and (bytes <= $5 or nth = 1)");
    list(conn, LIST, workspace, conversation, after, limit).await
}

/// The first messages after a position up to the first that was created after a time, oldest first.
pub async fn list_until(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    (after, until): (i64, Micros),
    limit: ReadLimit,
) -> Result<PageRows<Message>, StoreError> {
    const LIST: &str = list!(
        "position > $3 and position < coalesce((select later.position from messages as later \
         where later.workspace_id = $1 and later.conversation_id = $2 and later.position > $3 \
         and later.created_at > $6 order by later.position limit 1), 9223372036854775807)",
        "",
        "nth <= $4 and (bytes <= $5 or nth = 1)"
    );
    let rows: Vec<PageRow<Message>> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(conversation).bind(after);
        query.bind(limit.rows).bind(limit.bytes).bind(until).fetch_all(c).await?
    });
    Ok(rows.into())
}

/// The first messages of a workspace with an id between two, in the order of their ids.
pub async fn list_between(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    (after, before): (MessageId, MessageId),
    limit: ReadLimit,
) -> Result<PageRows<Message>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        message_columns!(),
        ", candidates from ",
        page_of!(
            keys: (
                "select id as page_id, octet_length(text) + coalesce(octet_length(metadata), 0) \
                 + coalesce(octet_length(function_calls), 0) \
                 + coalesce(octet_length(earlier_texts), 0) as row_size \
                 from messages where workspace_id = $1 and id > $2 and id < $3 order by id limit $4 + 1"
            ),
            order: ("page_id"),
            fits: "nth <= $4 and (bytes <= $5 or nth = 1)"
        ),
        " cross join messages where workspace_id = $1 and id = page_id order by id"
    );
    let rows: Vec<PageRow<Message>> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(after).bind(before);
        query.bind(limit.rows).bind(limit.bytes).fetch_all(c).await?
    });
    Ok(rows.into())
}

/// The newest messages up to a position, oldest first; `has_more` if there are older ones.
pub async fn list_newest(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    up_to: i64,
    limit: ReadLimit,
) -> Result<PageRows<Message>, StoreError> {
    const LIST: &str = list!("position <= $3", " desc", "nth <= $4 and (bytes <= $5 or nth = 1)");
    list(conn, LIST, workspace, conversation, up_to, limit).await
}

/// The newest messages after a position that reply to messages before it, oldest first. There may be none that fits into the limit.
pub async fn list_late_replies(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: ReadLimit,
) -> Result<Vec<Message>, StoreError> {
    const LIST: &str = list!("position > $3 and answers < $3", " desc", "nth <= $4 and bytes <= $5");
    Ok(list(conn, LIST, workspace, conversation, position, limit).await?.rows)
}

async fn list(
    conn: Conn<'_>,
    statement: &'static str,
    workspace: WorkspaceId,
    conversation: ConversationId,
    position: i64,
    limit: ReadLimit,
) -> Result<PageRows<Message>, StoreError> {
    let rows: Vec<PageRow<Message>> = on_conn!(conn, |c| {
        let query = sqlx::query_as(statement).bind(workspace).bind(conversation).bind(position);
        query.bind(limit.rows).bind(limit.bytes).fetch_all(c).await?
    });
    Ok(rows.into())
}

/// The messages at positions of conversations, in no order. Unknown ones are left out.
pub async fn find_many(
    conn: Conn<'_>,
    keys: &[(WorkspaceId, ConversationId, i64)],
) -> Result<Vec<Message>, StoreError> {
    const KEYS: Columns<(WorkspaceId, ConversationId, i64)> =
        columns!(|key| { "key_workspace": key.0, "key_conversation": key.1, "key_position": key.2 });
    const FIND: &str = concat!(
        "select ",
        message_columns!(),
        " from new cross join messages where workspace_id = key_workspace \
         and conversation_id = key_conversation and position = key_position"
    );
    fetch(conn, &KEYS, keys, FIND).await
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

from_row!(RatedMessage, |row| Self {
    key: MessageRef {
        workspace: row.try_get("workspace_id")?,
        conversation: row.try_get("conversation_id")?,
        position: row.try_get("position")?,
    },
    sender_type: row.try_get("sender_type")?,
    feedback: match row.try_get("rating")? {
        Some(rating) => Some(Feedback { rating, comment: row.try_get("rating_comment")? }),
        None => None,
    },
});

/// A rated message, with its id.
#[derive(sqlx::FromRow)]
struct RatedRow {
    id: MessageId,
    #[sqlx(flatten)]
    message: RatedMessage,
}

/// The messages with these ids, as far as ratings need them. Unknown ids are left out.
pub async fn find_rated(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, MessageId)>,
) -> Result<Vec<(MessageId, RatedMessage)>, StoreError> {
    const FIND: &str = "select id, workspace_id, conversation_id, position, sender_type, rating, rating_comment \
        from new cross join messages where workspace_id = key_workspace and id = key_id";
    let rows: Vec<RatedRow> = fetch(conn, &key_columns(), ids, FIND).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.message)).collect())
}

/// Writes the ratings of messages.
pub async fn update_ratings(conn: Conn<'_>, rows: &[&RatedMessage]) -> Result<(), StoreError> {
    const ROWS: Columns<RatedMessage> = columns!(|row| {
        "key_workspace": row.key.workspace,
        "key_conversation": row.key.conversation,
        "key_position": row.key.position,
        "new_rating": row.feedback.as_ref().map(|feedback| feedback.rating),
        "new_comment": row.feedback.as_ref().and_then(|feedback| feedback.comment.clone()),
    });
    const UPDATE: &str = "update messages set rating = new_rating, rating_comment = new_comment from new \
        where workspace_id = key_workspace and conversation_id = key_conversation and position = key_position";
    execute(conn, &ROWS, rows.iter().copied(), UPDATE).await?;
    Ok(())
}

pub fn insert(statements: &mut Statements, rows: &[Message]) -> Result<(), StoreError> {
    statements.insert(rows, "")
}
