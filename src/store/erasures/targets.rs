//! The conversations of an erasure: found, to be marked as deleted, and then found by their mark.

use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureJob, ErasureTarget};
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn};

/// At most `limit` conversations that a back end has given a name before a time.
pub async fn list_by_external_identifier(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
    before: Micros,
    limit: i64,
) -> Result<Vec<ConversationId>, StoreError> {
    // The plus keeps SQLite from the index by age.
    const LIST: &str = "select id from conversations where workspace_id = $1 and external_identifier = $2 \
        and +created_at <= $3 and deleted_at is null limit $4";
    list(conn, LIST, workspace, name, (before, limit)).await
}

/// At most `limit` conversations of an identified visitor before a time.
pub async fn list_by_identity(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
    before: Micros,
    limit: i64,
) -> Result<Vec<ConversationId>, StoreError> {
    // The plus keeps SQLite from the index by age.
    const LIST: &str = "select id from conversations where workspace_id = $1 and identity = $2 \
        and +created_at <= $3 and deleted_at is null limit $4";
    list(conn, LIST, workspace, name, (before, limit)).await
}

/// The conversations of a statement that takes a workspace, a name, a time and a limit.
async fn list(
    conn: Conn<'_>,
    statement: &'static str,
    workspace: WorkspaceId,
    name: &str,
    (before, limit): (Micros, i64),
) -> Result<Vec<ConversationId>, StoreError> {
    let rows: Vec<(ConversationId,)> = on_conn!(conn, |c| {
        let query = sqlx::query_as(statement).bind(workspace).bind(name);
        query.bind(before).bind(limit).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// A conversation in which a person has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SenderConversation {
    pub id: ConversationId,
    /// Whether it is to be erased: it was created before the time, and is not deleted.
    pub is_target: bool,
}

/// The first `limit` conversations after one, by their ids, in which a user of this name has written through the platform API. Those that
/// were created before a time are to be erased.
pub async fn list_by_sender(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
    (after, before): (Option<ConversationId>, Micros),
    limit: i64,
) -> Result<Vec<SenderConversation>, StoreError> {
    // Looks up the next conversation in the index, because a person may have many messages in each.
    macro_rules! next_after {
        ($after:literal) => {
            concat!(
                "(select conversation_id from messages where workspace_id = $1 and sender_id = $2 \
                 and sender_type = 'user' and sender_id <> 'visitor' and conversation_id > ",
                $after,
                " order by conversation_id limit 1)"
            )
        };
    }
    const LIST: &str = concat!(
        "with recursive found (id, nth) as (select ",
        next_after!("$3"),
        ", 1 union all select ",
        next_after!("found.id"),
        ", nth + 1 from found where id is not null and nth < $5) \
         select found.id, created_at <= $4 and deleted_at is null as is_target from found cross join conversations \
         where conversations.workspace_id = $1 and conversations.id = found.id order by found.id"
    );
    let after = after.unwrap_or(ConversationId(uuid::Uuid::nil()));
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(name).bind(after);
        query.bind(before).bind(limit).fetch_all(c).await?
    }))
}

/// An old conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OldConversation {
    pub id: ConversationId,
    pub created_at: Micros,
    /// Whether it has neither a message, nor its end, nor the end of an appointment since the time.
    pub is_inactive: bool,
}

/// The first `limit` conversations after one that were created before a time, the oldest first.
pub async fn list_old(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    since: Micros,
    after: Option<(Micros, ConversationId)>,
    limit: i64,
) -> Result<Vec<OldConversation>, StoreError> {
    // Subqueries with a limit, because PostgreSQL might read all bookings for an `exists`.
    const LIST: &str = "select id, created_at, coalesce(ended_at, 0) < $2 and coalesce((select m.created_at \
        from messages m where m.workspace_id = conversations.workspace_id and m.conversation_id = conversations.id \
        order by m.position desc limit 1), 0) < $2 and (select b.id from bookings b \
        where b.workspace_id = conversations.workspace_id and b.conversation_id = conversations.id \
        and b.erased_at is null and b.cancelled_at is null and b.ends_at >= $2 limit 1) is null as is_inactive \
        from conversations where workspace_id = $1 and deleted_at is null and created_at < $2 \
        and (created_at, id) > ($3, $4) order by created_at, id limit $5";
    let (at, id) = after.unwrap_or((Micros(i64::MIN), ConversationId(uuid::Uuid::nil())));
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(since).bind(at).bind(id);
        query.bind(limit).fetch_all(c).await?
    }))
}

/// Remembers how far the search for conversations has come, if it has a position.
pub async fn set_scanned(conn: Conn<'_>, job: &ErasureJob) -> Result<(), StoreError> {
    const SET: &str =
        "update erasures set scanned_at = $3, scanned_id = $4 where workspace_id = $1 and id = $2";
    let (at, id) = match job.target {
        ErasureTarget::Inactive { scanned: Some((at, id)), .. } => (Some(at), id),
        ErasureTarget::Sender { scanned: Some(id), .. } => (None, id),
        ErasureTarget::Conversation(_)
        | ErasureTarget::ExternalIdentifier(_)
        | ErasureTarget::Identity(_)
        | ErasureTarget::Sender { scanned: None, .. }
        | ErasureTarget::Inactive { scanned: None, .. } => return Ok(()),
    };
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(job.workspace).bind(job.id).bind(at).bind(id).execute(c).await?;
    });
    Ok(())
}

/// At most `limit` conversations of an erasure whose content is still to be removed.
pub async fn list_marked(
    conn: Conn<'_>,
    job: &ErasureJob,
    limit: i64,
) -> Result<Vec<ConversationId>, StoreError> {
    const LIST: &str = "select id from conversations where workspace_id = $1 and erasure_id = $2 \
        and erased_at is null and erasure_id is not null order by id limit $3";
    let rows: Vec<(ConversationId,)> = on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(job.workspace).bind(job.id).bind(limit).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
