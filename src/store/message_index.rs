//! The index of messages, which lists and searches of all messages read. It is filled after the messages are committed, in the order
//! of their workspace's events, so it may lack the newest ones. The numbers of a workspace's entries grow in that order.
//!
//! The engine searches terms: PostgreSQL in a `tsvector` column, SQLite in an FTS5 table without content. Terms consist of letters and
//! digits (`domain::message_search`), so nothing that a client sends is read as an operator.

use std::ops::RangeInclusive;

use sqlx::QueryBuilder;

use super::{Columns, Conn, StoreError, columns, fetch, from_row, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::{ConversationId, MessageId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::message_search::{BLOCK, MessageFilter, block_term, conversation_term, message_terms};

/// How far the index of a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexState {
    /// All messages of events up to this cursor are indexed.
    pub cursor: i64,
    pub next_number: i64,
    /// If the events after the cursor were removed: the last message that was looked at in their place.
    pub gap_message: Option<MessageId>,
}

/// The state of a workspace.
pub async fn state(conn: Conn<'_>, workspace: WorkspaceId) -> Result<IndexState, StoreError> {
    const STATE: &str =
        "select cursor, next_number, gap_message from message_index_state where workspace_id = $1";
    let found: Option<(i64, i64, Option<MessageId>)> =
        on_conn!(conn, |c| sqlx::query_as(STATE).bind(workspace).fetch_optional(c).await?);
    let (cursor, next_number, gap_message) = found.unwrap_or((0, 1, None));
    Ok(IndexState { cursor, next_number, gap_message })
}

/// At most `limit` workspaces after this one that have events which the index has not followed yet.
pub async fn list_behind(
    conn: Conn<'_>,
    after: WorkspaceId,
    limit: i64,
) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select s.workspace_id from workspace_state s left join message_index_state i \
        on i.workspace_id = s.workspace_id where s.workspace_id > $1 and s.next_cursor - 1 > coalesce(i.cursor, 0) \
        order by s.workspace_id limit $2";
    let rows: Vec<(WorkspaceId,)> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(after).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(workspace,)| workspace).collect())
}

/// The next events of a workspace that tell of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvents {
    /// The cursors of the events and their conversations, in order.
    pub events: Vec<(i64, ConversationId)>,
    /// The last cursor up to which there are no others.
    pub up_to: i64,
    /// If there may be others after it: when the last event up to there was created.
    pub until: Option<Micros>,
    /// Whether there may be others after it.
    pub has_more: bool,
    /// If events after the cursor were removed: the cursor of the last of them, and when the next event was created, if there is one.
    pub gap: Option<(i64, Option<Micros>)>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    cursor: i64,
    conversation_id: Option<ConversationId>,
    #[sqlx(rename = "type")]
    kind: String,
    created_at: Micros,
}

/// At most `limit` events after a cursor that tell of messages.
pub async fn list_events(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<NewEvents, StoreError> {
    // Read first: an event up to this cursor is committed, because cursors follow the order of commits.
    const LATEST: &str = "select next_cursor - 1 from workspace_state where workspace_id = $1";
    const LIST: &str = "select cursor, conversation_id, type, created_at from events where workspace_id = $1 \
        and cursor > $2 and cursor <= $3 order by cursor limit $4";
    let latest: Option<(i64,)> =
        on_conn!(conn.reborrow(), |c| sqlx::query_as(LATEST).bind(workspace).fetch_optional(c).await?);
    let latest = latest.map_or(after, |(latest,)| latest);
    let rows: Vec<EventRow> = on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(after).bind(latest).bind(limit).fetch_all(c).await?
    });
    let is_last_page = i64::try_from(rows.len()).is_ok_and(|count| count < limit);
    let up_to = rows.last().map(|row| row.cursor).filter(|_| !is_last_page).unwrap_or(latest);
    // Cursors have no gap but that of events which were removed.
    let gap = match rows.first() {
        Some(next) => (next.cursor > after + 1).then_some((next.cursor - 1, Some(next.created_at))),
        None => (latest > after).then_some((latest, None)),
    };
    let of_message = |row: &&EventRow| matches!(&*row.kind, "message.created" | "conversation.created");
    let events = rows.iter().filter(of_message);
    Ok(NewEvents {
        events: events.filter_map(|row| Some((row.cursor, row.conversation_id?))).collect(),
        up_to,
        until: rows.iter().map(|row| row.created_at).max().filter(|_| !is_last_page),
        has_more: !is_last_page,
        gap,
    })
}

/// When the newest message that is indexed was created.
pub async fn newest(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Option<Micros>, StoreError> {
    const NEWEST: &str = "select max(created_at) from message_index where workspace_id = $1";
    Ok(on_conn!(conn, |c| sqlx::query_scalar(NEWEST).bind(workspace).fetch_one(c).await?))
}

/// The position of the last message of a conversation that is indexed; 0 if none is.
pub async fn last_position(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<i64, StoreError> {
    const LAST: &str =
        "select max(position) from message_index where workspace_id = $1 and conversation_id = $2";
    let (last,): (Option<i64>,) =
        on_conn!(conn, |c| sqlx::query_as(LAST).bind(workspace).bind(conversation).fetch_one(c).await?);
    Ok(last.unwrap_or(0))
}

/// Moves the state of a workspace. Returns false if another process has moved it: its entries are that one's to write.
pub async fn advance(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    from: IndexState,
    to: IndexState,
) -> Result<bool, StoreError> {
    const ADVANCE: &str = "insert into message_index_state (workspace_id, cursor, next_number, gap_message) \
        values ($1, $2, $3, $4) on conflict (workspace_id) do update \
        set cursor = excluded.cursor, next_number = excluded.next_number, gap_message = excluded.gap_message \
        where message_index_state.cursor = $5 and message_index_state.next_number = $6 \
        and message_index_state.gap_message is not distinct from $7";
    let written = on_conn!(conn, |c| {
        let query = sqlx::query(ADVANCE).bind(workspace).bind(to.cursor).bind(to.next_number);
        let query = query.bind(to.gap_message).bind(from.cursor).bind(from.next_number);
        query.bind(from.gap_message).execute(c).await?.rows_affected()
    });
    Ok(written == 1)
}

/// Adds a message under a number, unless it or its conversation was deleted meanwhile.
pub async fn insert(conn: Conn<'_>, message: &Message, number: i64) -> Result<(), StoreError> {
    macro_rules! insert {
        ($column:literal, $value:literal) => {
            concat!(
                "insert into message_index (workspace_id, number, conversation_id, position, created_at",
                $column,
                ") select workspace_id, $4, conversation_id, position, created_at",
                $value,
                " from messages where workspace_id = $1 and conversation_id = $2 and position = $3 \
                 and exists (select 1 from conversations where conversations.workspace_id = $1 \
                 and conversations.id = $2 and deleted_at is null) on conflict do nothing"
            )
        };
    }
    const POSTGRES: &str = insert!(", search", ", array_to_tsvector(string_to_array($5, ' '))");
    const SQLITE: &str = insert!("", "");
    const SQLITE_TERMS: &str = "insert into message_search (rowid, words) \
        select entry, $3 from message_index where workspace_id = $1 and number = $2";
    let terms = message_terms(message, number);
    let Message { workspace, conversation, position, .. } = message;
    match conn {
        Conn::Postgres(c) => {
            let query = sqlx::query(POSTGRES).bind(workspace).bind(conversation).bind(position);
            query.bind(number).bind(&terms).execute(c).await?;
        }
        Conn::Sqlite(c) => {
            let query = sqlx::query(SQLITE).bind(workspace).bind(conversation).bind(position);
            query.bind(number).execute(&mut *c).await?;
            sqlx::query(SQLITE_TERMS).bind(workspace).bind(number).bind(&terms).execute(c).await?;
        }
    }
    Ok(())
}

/// The range of numbers that can match a filter, by its conversation, its times and the position of its page; empty if there is none. The
/// order of numbers is only roughly that of time, so the range is wider by one block.
pub async fn range(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &MessageFilter,
) -> Result<RangeInclusive<i64>, StoreError> {
    const FIRST: &str = "select number from message_index where workspace_id = $1 and created_at >= $2 \
        order by created_at, number limit 1";
    const LAST: &str = "select number from message_index where workspace_id = $1 and created_at < $2 \
        order by created_at desc, number desc limit 1";
    let (mut first, mut last) = (1, state(conn.reborrow(), workspace).await?.next_number - 1);
    for (statement, time) in [(FIRST, filter.created.after), (LAST, filter.created.before)] {
        let Some(time) = time else { continue };
        let found: Option<(i64,)> = on_conn!(conn.reborrow(), |c| {
            sqlx::query_as(statement).bind(workspace).bind(time).fetch_optional(c).await?
        });
        let Some((number,)) = found else { return Ok(RangeInclusive::new(first, 0)) };
        if statement == FIRST {
            first = first.max(number - BLOCK);
        } else {
            last = last.min(number + BLOCK);
        }
    }
    if let Some(conversation) = filter.conversation {
        let ends = conversation_range(conn, workspace, conversation).await?;
        let Some((oldest, newest)) = ends else { return Ok(RangeInclusive::new(first, 0)) };
        (first, last) = (first.max(oldest - BLOCK), last.min(newest + BLOCK));
    }
    let before = filter.before_number.map_or(last, |number| number.saturating_sub(1));
    Ok(first..=last.min(before))
}

/// The numbers of the first and of the last message of a conversation that are indexed.
async fn conversation_range(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<Option<(i64, i64)>, StoreError> {
    const OLDEST: &str = "select number from message_index where workspace_id = $1 and conversation_id = $2 \
        order by position limit 1";
    const NEWEST: &str = "select number from message_index where workspace_id = $1 and conversation_id = $2 \
        order by position desc limit 1";
    let mut ends = Vec::new();
    for statement in [OLDEST, NEWEST] {
        let found: Option<(i64,)> = on_conn!(conn.reborrow(), |c| {
            sqlx::query_as(statement).bind(workspace).bind(conversation).fetch_optional(c).await?
        });
        ends.extend(found.map(|(number,)| number));
    }
    Ok(match ends.as_slice() {
        [oldest, newest] => Some((*oldest, *newest)),
        _ => None,
    })
}

/// An entry that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundMessage {
    pub number: i64,
    pub conversation: ConversationId,
    pub position: i64,
    /// The size of the message's large columns.
    pub bytes: i64,
}

from_row!(FoundMessage, |row| Self {
    number: row.try_get("number")?,
    conversation: row.try_get("in_conversation")?,
    position: row.try_get("at_position")?,
    bytes: row.try_get("row_size")?,
});

/// At most `limit` messages that match, the highest numbers first, of a range of numbers within one block.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &MessageFilter,
    range: &RangeInclusive<i64>,
    limit: i64,
) -> Result<Vec<FoundMessage>, StoreError> {
    const FIND: &str = "select number, in_conversation, at_position, cast(octet_length(text) \
        + coalesce(octet_length(metadata), 0) + coalesce(octet_length(function_calls), 0) \
        + coalesce(octet_length(earlier_texts), 0) + coalesce(octet_length(rating_comment), 0) as bigint) as row_size \
        from (select number, conversation_id as in_conversation, position as at_position from ";
    const EXISTS: &str = " where exists (select 1 from conversations \
        where conversations.workspace_id = message_index.workspace_id \
        and conversations.id = message_index.conversation_id and deleted_at is null) and workspace_id = ";
    let block = block_term(workspace, *range.start());
    let expression = (!filter.terms.is_empty()).then(|| expression(&conn, filter, &block));
    // SQLite begins with the matches, the newest first: the entries of a workspace grow with its numbers.
    let (tables, order) = match (&conn, &expression) {
        (Conn::Sqlite(_), Some(_)) => (
            "message_search cross join message_index on entry = message_search.rowid",
            " order by message_search.rowid desc limit ",
        ),
        (Conn::Sqlite(_), None) | (Conn::Postgres(_), _) => ("message_index", " order by number desc limit "),
    };
    let match_prefix = conn.pick(" and search @@ cast(", " and message_search match ");
    let match_suffix = conn.pick(" as tsquery)", "");
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(FIND);
        query.push(tables).push(EXISTS).push_bind(workspace);
        query.push(" and number between ").push_bind(*range.start()).push(" and ").push_bind(*range.end());
        if let Some(conversation) = filter.conversation {
            query.push(" and conversation_id = ").push_bind(conversation);
        }
        if let Some(after) = filter.created.after {
            query.push(" and created_at >= ").push_bind(after);
        }
        if let Some(before) = filter.created.before {
            query.push(" and created_at < ").push_bind(before);
        }
        if let Some(expression) = expression {
            query.push(match_prefix).push_bind(expression).push(match_suffix);
        }
        query.push(order).push_bind(limit);
        query
            .push(") as found join messages on conversation_id = in_conversation and position = at_position");
        query.push(" where workspace_id = ").push_bind(workspace).push(" order by number desc");
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

/// All terms of the filter, and this one.
fn expression(conn: &Conn<'_>, filter: &MessageFilter, term: &str) -> String {
    let terms = filter.terms.iter().map(String::as_str).chain([term]);
    let (quote, and) = (conn.pick("'", "\""), conn.pick(" & ", " AND "));
    terms.map(|term| format!("{quote}{term}{quote}")).collect::<Vec<_>>().join(and)
}

/// The conversations among these that have a message with all terms of the filter.
pub async fn filter_conversations(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
    filter: &MessageFilter,
) -> Result<Vec<ConversationId>, StoreError> {
    const KEYS: Columns<(WorkspaceId, ConversationId, String)> =
        columns!(|key| { "key_workspace": key.0, "key_id": key.1, "key_terms": &key.2 });
    const POSTGRES: &str = "select key_id as id from new where exists (select 1 from message_index \
        where workspace_id = key_workspace and conversation_id = key_id and search @@ cast(key_terms as tsquery))";
    const SQLITE: &str = "select key_id as id from new where exists (select 1 from message_search \
        where message_search match key_terms)";
    let statement = conn.pick(POSTGRES, SQLITE);
    let keys: Vec<(WorkspaceId, ConversationId, String)> = conversations
        .iter()
        .map(|id| (workspace, *id, expression(&conn, filter, &conversation_term(*id))))
        .collect();
    let found: Vec<(ConversationId,)> = fetch(conn, &KEYS, &keys, statement).await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}
