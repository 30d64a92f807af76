//! Events: the log that the feed and the webhooks tell, in order of its cursor.

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn, portions};
use crate::domain::clock::Micros;
use crate::domain::event::{Event, EventType};
use crate::domain::ids::{ConversationId, EventId, WorkspaceId};

const COLUMNS: &str = "workspace_id, cursor, id, type, conversation_id, body, created_at";

#[derive(sqlx::FromRow)]
struct EventRow {
    workspace_id: WorkspaceId,
    cursor: i64,
    id: EventId,
    #[sqlx(rename = "type")]
    kind: EventType,
    conversation_id: Option<ConversationId>,
    body: String,
    created_at: Micros,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            workspace: row.workspace_id,
            cursor: row.cursor,
            id: row.id,
            kind: row.kind,
            conversation: row.conversation_id,
            body: row.body,
            created_at: row.created_at,
        }
    }
}

/// The events after a cursor (0: from the oldest kept), in order.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows: Vec<EventRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from events where workspace_id = ").push_bind(workspace);
        query.push(" and cursor > ").push_bind(after);
        query.push(" order by cursor limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Event::from).collect())
}

/// Whether the event at a cursor is this one.
pub(super) async fn is_there(
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

pub(super) async fn insert(mut conn: Conn<'_>, rows: &[Event]) -> Result<(), StoreError> {
    for rows in portions(rows, 7) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into events (");
            query.push(COLUMNS).push(") ");
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.cursor).push_bind(row.id);
                values.push_bind(row.kind).push_bind(row.conversation).push_bind(&row.body);
                values.push_bind(row.created_at);
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
