//! Events: the log behind the event feed and the webhooks, in the order of its cursor.
//! The `data` of events is redacted once their conversation has been deleted.

pub mod replay;
pub mod retention;

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::event::{CursorRange, Event, EventCursor, EventFilter, EventType};
use crate::domain::ids::{ConversationId, EventId, WorkspaceId};
use crate::domain::render;
use crate::store::workspaces::WORKSPACE_KEY;
use crate::store::{
    Conn, PageRows, ReadLimit, Statements, StoreError, fetch, insert_row, on_conn, page_condition, page_end,
    page_start, store_epoch,
};

insert_row!(Event, "events", |event| {
    "workspace_id": event.workspace,
    "cursor": event.cursor,
    "id": event.id,
    "type": event.kind,
    "conversation_id": event.conversation,
    "body": &event.body,
    "created_at": event.created_at,
});

/// The range of a workspace's feed, and one of its events if there is any.
#[derive(sqlx::FromRow)]
struct FeedRow {
    epoch: i64,
    events_from: i64,
    next_cursor: i64,
    cursor: Option<i64>,
    id: Option<EventId>,
    #[sqlx(rename = "type")]
    kind: Option<EventType>,
    conversation_id: Option<ConversationId>,
    body: Option<String>,
    created_at: Option<Micros>,
    deleted_at: Option<Micros>,
    candidates: Option<i64>,
}

impl FeedRow {
    fn event(self, workspace: WorkspaceId) -> Option<Event> {
        let mut event = Event {
            workspace,
            cursor: self.cursor?,
            id: self.id?,
            kind: self.kind?,
            conversation: self.conversation_id,
            body: self.body?,
            created_at: self.created_at?,
        };
        if self.deleted_at.is_some() {
            event.body = render::redacted_event(&event);
        }
        event.body = render::with_epoch(event.body, EventCursor { epoch: self.epoch, number: event.cursor });
        Some(event)
    }
}

/// The first events after a cursor that match a filter, in order, and the range of the feed as of the same statement, so that the
/// caller knows whether it has read to the end.
pub async fn read_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
    filter: &EventFilter,
    limit: ReadLimit,
) -> Result<(CursorRange, PageRows<Event>), StoreError> {
    let rows: Vec<FeedRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(concat!(
            "select ",
            store_epoch!(),
            " as epoch, s.events_from, s.next_cursor, e.cursor, e.id, e.type, e.conversation_id, e.body, \
             e.created_at, c.deleted_at, candidates from workspace_state s left join ",
            page_start!(),
            "select * from ("
        ));
        // One index range for each type: however rare a type is, no range yields more than a page.
        let types: Vec<_> = filter.types.iter().map(Some).collect();
        let types = if types.is_empty() { vec![None] } else { types };
        for (nth, kind) in types.into_iter().enumerate() {
            query.push(if nth == 0 { "" } else { " union all " });
            query.push(
                "select * from (select cursor as page_cursor, octet_length(body) as row_size from events \
                 where workspace_id = ",
            );
            query.push_bind(workspace);
            if let Some(kind) = kind {
                query.push(" and type = ").push_bind(*kind);
            }
            if let Some(conversation) = filter.conversation {
                query.push(" and conversation_id = ").push_bind(conversation);
            }
            query.push(" and cursor > ").push_bind(after);
            query.push(" and cursor >= (select events_from from workspace_state where workspace_id = ");
            query.push_bind(workspace).push(") order by cursor limit ").push_bind(limit.candidates());
            query.push(") as part");
        }
        query.push(") as parts order by page_cursor limit ").push_bind(limit.candidates());
        query.push(concat!(page_condition!("page_cursor"), "nth <= ")).push_bind(limit.rows);
        query.push(" and (bytes <= ").push_bind(limit.bytes).push(" or nth = 1)");
        query.push(concat!(
            page_end!(),
            " on true left join events e on e.workspace_id = s.workspace_id and e.cursor = page_cursor \
             left join conversations c on c.workspace_id = e.workspace_id and c.id = e.conversation_id \
             where s.workspace_id = "
        ));
        query.push_bind(workspace).push(" order by e.cursor");
        query.build_query_as().fetch_all(c).await?
    });
    let first = rows.first();
    let range = first.map_or(CursorRange::default(), |row| CursorRange {
        epoch: row.epoch,
        oldest: row.events_from,
        latest: row.next_cursor - 1,
    });
    let candidates = first.and_then(|row| row.candidates).unwrap_or(0);
    let events = rows.into_iter().filter_map(|row| row.event(workspace)).collect();
    Ok((range, PageRows::cut(events, candidates)))
}

/// The range of a workspace's feed, and the time of its oldest event, if there is one.
pub async fn cursor_range(
    conn: Conn<'_>,
    workspace: WorkspaceId,
) -> Result<(CursorRange, Option<Micros>), StoreError> {
    const CURSOR_RANGE: &str = concat!(
        "select ",
        store_epoch!(),
        ", s.events_from, s.next_cursor, e.created_at from workspace_state s \
         left join events e on e.workspace_id = s.workspace_id and e.cursor = s.events_from \
         where s.workspace_id = $1"
    );
    let found: Option<(i64, i64, i64, Option<Micros>)> =
        on_conn!(conn, |c| sqlx::query_as(CURSOR_RANGE).bind(workspace).fetch_optional(c).await?);
    Ok(found.map_or((CursorRange::default(), None), |(epoch, from, next, at)| {
        (CursorRange { epoch, oldest: from, latest: next - 1 }, at)
    }))
}

/// The cursor of an event that retention has not removed.
pub async fn find_cursor(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: EventId,
) -> Result<Option<i64>, StoreError> {
    const CURSOR: &str = "select cursor from events where workspace_id = $1 and id = $2";
    let found: Option<(i64,)> =
        on_conn!(conn, |c| sqlx::query_as(CURSOR).bind(workspace).bind(id).fetch_optional(c).await?);
    Ok(found.map(|(cursor,)| cursor))
}

/// The newest event of a conversation up to a cursor that retention has not removed.
pub async fn find_newest_of(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    until: i64,
) -> Result<Option<EventId>, StoreError> {
    const NEWEST: &str = "select id from events where workspace_id = $1 and conversation_id = $2 and cursor <= $3 \
        order by cursor desc limit 1";
    let found: Option<(EventId,)> = on_conn!(conn, |c| {
        sqlx::query_as(NEWEST).bind(workspace).bind(conversation).bind(until).fetch_optional(c).await?
    });
    Ok(found.map(|(id,)| id))
}

/// The cursor of the latest event of each workspace.
pub async fn latest_cursors(
    conn: Conn<'_>,
    workspaces: &[WorkspaceId],
) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
    const LATEST: &str = "select workspace_id, next_cursor - 1 from new cross join workspace_state \
        where workspace_id = key_workspace";
    fetch(conn, &WORKSPACE_KEY, workspaces, LATEST).await
}

/// The time of the newest event of all workspaces.
pub async fn newest(conn: Conn<'_>) -> Result<Option<Micros>, StoreError> {
    // A subquery for each workspace reads one index entry.
    const NEWEST: &str = "select max((select e.created_at from events e where e.workspace_id = s.workspace_id \
        order by e.cursor desc limit 1)) from workspace_state s";
    let (newest,): (Option<Micros>,) = on_conn!(conn, |c| sqlx::query_as(NEWEST).fetch_one(c).await?);
    Ok(newest)
}

/// Returns true if the event at this cursor has this id.
pub async fn exists(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    cursor: i64,
    id: EventId,
) -> Result<bool, StoreError> {
    const COUNT: &str = "select count(*) from events where workspace_id = $1 and cursor = $2 and id = $3";
    let (count,): (i64,) = on_conn!(conn, |c| {
        sqlx::query_as(COUNT).bind(workspace).bind(cursor).bind(id).fetch_one(c).await?
    });
    Ok(count > 0)
}

pub fn insert(statements: &mut Statements, rows: &[Event]) -> Result<(), StoreError> {
    statements.insert(rows, "")
}
