//! The list of a workspace's conversations. A statement examines a bounded number of them, in the order of the list. A page may therefore
//! have few or no matches, and still a position at which the list continues.

use std::collections::{HashMap, HashSet};

use sqlx::{Database, Encode, QueryBuilder, Type};

use crate::domain::clock::{Micros, TimeRange};
use crate::domain::conversation::{
    Conversation, ConversationCursor, ConversationFilter, ConversationKind, ConversationSearch,
    ConversationSort,
};
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid, WorkspaceId};
use crate::store::{Conn, ReadLimit, StoreError, fetch, from_row, key_columns, message_index, on_conn};

/// How many conversations a page of a filtered list looks at.
const SCANNED: i64 = 1000;
/// How many a page of a search looks at, because it searches the messages of each.
const SEARCHED: i64 = 500;

/// A page of conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationPage {
    pub rows: Vec<Conversation>,
    /// From where the list goes on, unless it has ended.
    pub next: Option<ConversationCursor>,
}

/// A conversation of the list, without its large columns.
struct Key {
    id: ConversationId,
    time: Micros,
    /// The size of its large columns.
    bytes: i64,
    /// The external identifier contains the searched text.
    is_named: bool,
}

from_row!(Key, |row| Self {
    id: row.try_get("id")?,
    time: row.try_get("sort_time")?,
    bytes: row.try_get("row_size")?,
    is_named: row.try_get("is_named")?,
});

/// The order of a list, in SQL.
struct Order {
    time: &'static str,
    comparison: &'static str,
    direction: &'static str,
}

impl Order {
    fn new(sort: ConversationSort) -> Self {
        let (time, is_descending) = match sort {
            ConversationSort::Oldest => ("created_at", false),
            ConversationSort::Newest => ("created_at", true),
            ConversationSort::LeastRecentlyUpdated => ("updated_at", false),
            ConversationSort::MostRecentlyUpdated => ("updated_at", true),
        };
        let (comparison, direction) = if is_descending { (" < ", " desc") } else { (" > ", "") };
        Self { time, comparison, direction }
    }
}

/// A page of the workspace's conversations that match.
pub async fn list(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &ConversationFilter,
    limit: ReadLimit,
) -> Result<ConversationPage, StoreError> {
    let scanned = if filter.search.is_some() { SEARCHED } else { SCANNED };
    let mut keys = list_keys(conn.reborrow(), workspace, filter, scanned, limit).await?;
    if let Some(search) = &filter.search {
        keys = search_messages(conn.reborrow(), workspace, keys, search).await?;
    }
    let matching = keys.len();
    cut(&mut keys, limit);
    let next = if keys.len() < matching {
        keys.last().map(|last| (last.time, last.id))
    } else {
        end_of_scan(conn.reborrow(), workspace, filter, scanned).await?
    };
    Ok(ConversationPage { rows: read(conn, workspace, &keys).await?, next })
}

/// Keeps the keys of the rows that fit into the limit, at least one.
fn cut(keys: &mut Vec<Key>, limit: ReadLimit) {
    let mut bytes = 0_i64;
    let fits = |(nth, key): (usize, &Key)| {
        bytes = bytes.saturating_add(key.bytes);
        i64::try_from(nth).is_ok_and(|nth| nth < limit.rows) && (bytes <= limit.bytes || nth == 0)
    };
    let count = keys.iter().enumerate().map(fits).take_while(|fits| *fits).count();
    keys.truncate(count);
}

/// The rows of keys, in their order.
async fn read(conn: Conn<'_>, workspace: WorkspaceId, keys: &[Key]) -> Result<Vec<Conversation>, StoreError> {
    const READ: &str = concat!(
        "select ",
        conversation_columns!(),
        " from new cross join conversations where workspace_id = key_workspace and id = key_id"
    );
    let ids: Vec<(WorkspaceId, ConversationId)> = keys.iter().map(|key| (workspace, key.id)).collect();
    let rows: Vec<Conversation> = fetch(conn, &key_columns(), &ids, READ).await?;
    let mut rows: HashMap<ConversationId, Conversation> = rows.into_iter().map(|row| (row.id, row)).collect();
    Ok(keys.iter().filter_map(|key| rows.remove(&key.id)).collect())
}

/// Only the conversations that have the searched text.
async fn search_messages(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    mut keys: Vec<Key>,
    search: &ConversationSearch,
) -> Result<Vec<Key>, StoreError> {
    let others: Vec<ConversationId> = keys.iter().filter(|key| !key.is_named).map(|key| key.id).collect();
    let mut found = HashSet::new();
    if !search.messages.matches_none {
        let filter = &search.messages;
        found.extend(message_index::filter_conversations(conn, workspace, &others, filter).await?);
    }
    keys.retain(|key| key.is_named || found.contains(&key.id));
    Ok(keys)
}

/// The keys of the conversations that match among the first `scanned`; without a search one more than the limit at most.
async fn list_keys(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &ConversationFilter,
    scanned: i64,
    limit: ReadLimit,
) -> Result<Vec<Key>, StoreError> {
    let Order { time, direction, .. } = Order::new(filter.sort);
    let has_metadata = conn.pick(
        " and exists (select 1 from json_each(cast(metadata as json)) as field (name, content) \
         where json_typeof(content) = 'string' and name = ",
        " and exists (select 1 from json_each(metadata) where type = 'text' and key = ",
    );
    let is_content = conn.pick(" and content #>> '{}' = ", " and value = ");
    let contains = conn.pick("strpos(", "instr(");
    let limit = if filter.search.is_some() { scanned } else { limit.candidates() };
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select id, ");
        query.push(time).push(
            " as sort_time, cast(coalesce(octet_length(metadata), 0) + octet_length(key_variables) \
             + octet_length(visitor_variables) + octet_length(identity_variables) as bigint) as row_size, ",
        );
        match &filter.search {
            Some(search) => {
                query.push(contains).push("coalesce(external_identifier, ''), ").push_bind(&search.text);
                query.push(") > 0 as is_named");
            }
            None => {
                query.push("false as is_named");
            }
        }
        query.push(" from (select * from conversations");
        push_scan(&mut query, workspace, filter);
        query.push(" limit ").push_bind(scanned).push(") as scanned where true");
        push_conditions(&mut query, filter);
        for (key, value) in &filter.metadata {
            query.push(has_metadata).push_bind(key).push(is_content).push_bind(value).push(")");
        }
        query.push(" order by ").push(time).push(direction).push(", id").push(direction);
        query.push(" limit ").push_bind(limit);
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

/// The last conversation that a page has looked at, if there are others after it.
async fn end_of_scan(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &ConversationFilter,
    scanned: i64,
) -> Result<Option<ConversationCursor>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(Order::new(filter.sort).time).push(", id from conversations");
        push_scan(&mut query, workspace, filter);
        query.push(" limit 2 offset ").push_bind(scanned - 1);
        let rows: Vec<(Micros, ConversationId)> =
            query.build_query_as().persistent(false).fetch_all(c).await?;
        rows.first().copied().filter(|_| rows.len() > 1)
    }))
}

/// The conversations from the position on, in order. If the filter has a condition with a selective index, a plus keeps SQLite from the
/// index of the order, which would examine all conversations.
fn push_scan<D: Database>(query: &mut QueryBuilder<D>, workspace: WorkspaceId, filter: &ConversationFilter)
where
    WorkspaceId: for<'q> Encode<'q, D> + Type<D>,
    ConversationId: for<'q> Encode<'q, D> + Type<D>,
    WidgetUuid: for<'q> Encode<'q, D> + Type<D>,
    Micros: for<'q> Encode<'q, D> + Type<D>,
    String: for<'q> Encode<'q, D> + Type<D>,
{
    let Order { time, comparison, direction } = Order::new(filter.sort);
    let is_selective =
        filter.external_identifier.is_some() || filter.identity.is_some() || filter.widget.is_some();
    let plus = if is_selective { "+" } else { "" };
    query.push(" where workspace_id = ").push_bind(workspace).push(" and deleted_at is null");
    if let Some(external) = &filter.external_identifier {
        query.push(" and external_identifier = ").push_bind(external.clone());
    }
    if let Some(identity) = &filter.identity {
        query.push(" and identity = ").push_bind(identity.clone());
    }
    if let Some(widget) = filter.widget {
        query.push(" and id in (select conversation_id from widget_links where id = ").push_bind(widget);
        query.push(" and workspace_id = ").push_bind(workspace).push(")");
    }
    let ranges = [("created_at", filter.created), ("updated_at", filter.updated)];
    for (column, TimeRange { after, before }) in ranges {
        for (comparison, bound) in [(" >= ", after), (" < ", before)] {
            // Only the time that orders the list leads to a range of its index.
            if let Some(bound) = bound.filter(|_| column == time) {
                query.push(" and ").push(plus).push(column).push(comparison).push_bind(bound);
            }
        }
    }
    if let Some((at, id)) = filter.after {
        query.push(" and (").push(plus).push(time).push(", id)").push(comparison).push("(");
        query.push_bind(at).push(", ").push_bind(id).push(")");
    }
    query.push(" order by ").push(plus).push(time).push(direction).push(", id").push(direction);
}

/// The conditions that each conversation is checked for.
fn push_conditions<D: Database>(query: &mut QueryBuilder<D>, filter: &ConversationFilter)
where
    ConversationKind: for<'q> Encode<'q, D> + Type<D>,
    AssistantId: for<'q> Encode<'q, D> + Type<D>,
    Micros: for<'q> Encode<'q, D> + Type<D>,
    bool: for<'q> Encode<'q, D> + Type<D>,
{
    if let Some(kind) = filter.kind {
        query.push(" and kind = ").push_bind(kind);
    }
    if let Some(assistant) = filter.assistant {
        query.push(" and assistant_id = ").push_bind(assistant);
    }
    if let Some(ai_enabled) = filter.ai_enabled {
        query.push(" and ai_enabled = ").push_bind(ai_enabled);
    }
    if let Some(ended) = filter.ended {
        query.push(if ended { " and ended_at is not null" } else { " and ended_at is null" });
    }
    for (column, range) in [("created_at", filter.created), ("updated_at", filter.updated)] {
        for (comparison, bound) in [(" >= ", range.after), (" < ", range.before)] {
            if let Some(bound) = bound {
                query.push(" and ").push(column).push(comparison).push_bind(bound);
            }
        }
    }
}
