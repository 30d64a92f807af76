//! The integrity that foreign keys would guard. The tables that grow have none, because PostgreSQL plans their checks by statistics.

use sqlx::AssertSqlSafe;

use super::{Conn, StoreError, on_conn};

/// Rows that refer to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphans {
    pub table: &'static str,
    /// The table that they refer to.
    pub parent: &'static str,
    pub count: i64,
}

/// A reference: the table `child`, the table `parent`, and the condition between their rows.
const REFERENCES: [(&str, &str, &str); 13] = [
    ("conversations", "workspaces", "parent.id = child.workspace_id"),
    (
        "conversations",
        "assistants",
        "parent.workspace_id = child.workspace_id and parent.id = child.assistant_id",
    ),
    ("widget_links", "conversations", OF_CONVERSATION),
    ("messages", "conversations", OF_CONVERSATION),
    ("turns", "conversations", OF_CONVERSATION),
    ("journal", "turns", "parent.workspace_id = child.workspace_id and parent.id = child.turn_id"),
    ("ledger", "workspaces", "parent.id = child.workspace_id"),
    ("events", "workspaces", "parent.id = child.workspace_id"),
    (
        "deliveries",
        "webhook_endpoints",
        "parent.workspace_id = child.workspace_id and parent.id = child.endpoint_id",
    ),
    (
        "attempts",
        "deliveries",
        "parent.workspace_id = child.workspace_id and parent.endpoint_id = child.endpoint_id \
         and parent.cursor = child.cursor",
    ),
    ("bookings", "calendars", "parent.workspace_id = child.workspace_id and parent.id = child.calendar_id"),
    ("idempotency", "workspaces", "parent.id = child.workspace_id"),
    ("usage_counts", "workspaces", "parent.id = child.workspace_id"),
];

const OF_CONVERSATION: &str =
    "parent.workspace_id = child.workspace_id and parent.id = child.conversation_id";

/// Reads every row of the tables that grow, and returns the references that some rows break.
pub async fn find_orphans(mut conn: Conn<'_>) -> Result<Vec<Orphans>, StoreError> {
    let mut found = Vec::new();
    for (table, parent, condition) in REFERENCES {
        let count = format!(
            "select count(*) from {table} as child where not exists (select 1 from {parent} as parent where {condition})"
        );
        let (count,): (i64,) =
            on_conn!(conn.reborrow(), |c| sqlx::query_as(AssertSqlSafe(count)).fetch_one(c).await?);
        found.extend((count > 0).then_some(Orphans { table, parent, count }));
    }
    Ok(found)
}
