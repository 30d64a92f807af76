//! The conversations of an erasure: found, to be marked as deleted, and then found by their mark.

use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureJob, ErasureTarget, Person};
use crate::domain::ids::{ConversationId, ErasureId, WorkspaceId};
use crate::store::{Columns, Conn, StoreError, columns, execute, on_conn};

/// A conversation of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PersonConversation {
    pub id: ConversationId,
    /// Whether it is to be erased: it was created before the time, and still has content.
    pub is_target: bool,
}

/// The first `limit` conversations of a person after one, by their ids. Those that were created before a time are to be erased.
pub async fn list_by_person(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    person: &Person,
    (after, before): (Option<ConversationId>, Micros),
    limit: i64,
) -> Result<Vec<PersonConversation>, StoreError> {
    macro_rules! list_by {
        ($column:literal) => {
            concat!(
                "select id, created_at <= $4 and erased_at is null as is_target from conversations \
                 where workspace_id = $1 and ",
                $column,
                " = $2 and id > $3 order by id limit $5"
            )
        };
    }
    let (statement, name) = match person {
        Person::ExternalIdentifier(name) => (list_by!("external_identifier"), name),
        Person::Sender(name) => (LIST_BY_SENDER, name),
        Person::Identity(name) => (list_by!("identity"), name),
    };
    let after = after.unwrap_or(ConversationId(uuid::Uuid::nil()));
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(statement).bind(workspace).bind(name).bind(after);
        query.bind(before).bind(limit).fetch_all(c).await?
    }))
}

/// Looks up the next conversation in the index of messages by their sender.
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

/// The conversations in which a user of this name has written. It finds one after the other, because a person may have many messages in
/// each.
const LIST_BY_SENDER: &str = concat!(
    "with recursive found (id, nth) as (select ",
    next_after!("$3"),
    ", 1 union all select ",
    next_after!("found.id"),
    ", nth + 1 from found where id is not null and nth < $5) \
     select found.id, created_at <= $4 and erased_at is null as is_target from found cross join conversations \
     where conversations.workspace_id = $1 and conversations.id = found.id order by found.id"
);

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
        ErasureTarget::Person { scanned: Some(id), .. } => (None, id),
        ErasureTarget::Conversation(_)
        | ErasureTarget::Booking(..)
        | ErasureTarget::Person { scanned: None, .. }
        | ErasureTarget::Inactive { scanned: None, .. } => return Ok(()),
    };
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(job.workspace).bind(job.id).bind(at).bind(id).execute(c).await?;
    });
    Ok(())
}

/// Remembers those of these conversations that another erasure has deleted, so that this one ends after it.
pub async fn await_others(
    conn: Conn<'_>,
    job: &ErasureJob,
    conversations: &[ConversationId],
) -> Result<(), StoreError> {
    type AwaitedRow = (WorkspaceId, ErasureId, ConversationId);
    const ROWS: Columns<AwaitedRow> =
        columns!(|row| { "key_workspace": row.0, "key_erasure": row.1, "key_id": row.2 });
    const AWAIT: &str = "insert into awaited_conversations (workspace_id, erasure_id, conversation_id) \
        select key_workspace, key_erasure, id from new cross join conversations \
        where workspace_id = key_workspace and id = key_id and erasure_id <> key_erasure on conflict do nothing";
    let rows: Vec<AwaitedRow> = conversations.iter().map(|id| (job.workspace, job.id, *id)).collect();
    execute(conn, &ROWS, &rows, AWAIT).await?;
    Ok(())
}

/// Whether another erasure still removes the content of a conversation of this one.
pub async fn is_awaiting(conn: Conn<'_>, job: &ErasureJob) -> Result<bool, StoreError> {
    const FIND: &str = "select id from awaited_conversations a join conversations c \
        on c.workspace_id = a.workspace_id and c.id = a.conversation_id \
        where a.workspace_id = $1 and a.erasure_id = $2 and c.erased_at is null limit 1";
    let row: Option<(ConversationId,)> = on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(job.workspace).bind(job.id).fetch_optional(c).await?
    });
    Ok(row.is_some())
}

/// Removes what [`await_others`] has remembered.
pub(super) async fn forget_awaited(conn: Conn<'_>, job: &ErasureJob) -> Result<(), StoreError> {
    const FORGET: &str = "delete from awaited_conversations where workspace_id = $1 and erasure_id = $2";
    on_conn!(conn, |c| {
        sqlx::query(FORGET).bind(job.workspace).bind(job.id).execute(c).await?;
    });
    Ok(())
}

/// At most `limit` conversations of an erasure after one, whose content is still to be removed.
pub async fn list_marked(
    conn: Conn<'_>,
    job: &ErasureJob,
    after: ConversationId,
    limit: i64,
) -> Result<Vec<ConversationId>, StoreError> {
    const LIST: &str = "select id from conversations where workspace_id = $1 and erasure_id = $2 and id > $3 \
        and erased_at is null and erasure_id is not null order by id limit $4";
    let rows: Vec<(ConversationId,)> = on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(job.workspace).bind(job.id).bind(after).bind(limit).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
