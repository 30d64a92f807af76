//! Removes the rows of a deleted workspace in small batches.

use sqlx::AssertSqlSafe;

use super::{Conn, StoreError, on_conn, workspaces};
use crate::domain::clock::Micros;
use crate::domain::ids::WorkspaceId;

/// The tables whose rows are removed in batches. Tables that refer to others come first.
pub const REMOVED_TABLES: [&str; 27] = [
    "attempts",
    "deliveries",
    "webhook_endpoints",
    "events",
    "idempotency",
    "awaited_conversations",
    "erasures",
    "journal",
    "turns",
    "message_index",
    "messages",
    "typing",
    "widget_links",
    "conversations",
    "bookings",
    "calendar_links",
    "calendars",
    "passage_vectors",
    "document_embeddings",
    "passages",
    "documents",
    "terms",
    "knowledge_bases",
    "tools",
    "identity_secrets",
    "assistant_versions",
    "assistants",
];

/// The tables whose rows are removed last, in one transaction. The workers for usage and search run while the state of a workspace exists;
/// without their positions they would start again from the first row.
pub const LAST_REMOVED_TABLES: [&str; 4] =
    ["api_keys", "usage_positions", "message_index_state", "workspace_state"];

/// The tables whose rows are retained: the ledger for legal reasons, the usage that explains it, and the audit log.
pub const RETAINED_TABLES: [&str; 3] = ["ledger", "usage_counts", "audit_log"];

/// Removes at most `limit` rows of a workspace from one of [`REMOVED_TABLES`]. Returns how many were removed.
pub async fn remove_rows(
    conn: Conn<'_>,
    table: &'static str,
    workspace: WorkspaceId,
    limit: i64,
) -> Result<u64, StoreError> {
    let remove = if table == "terms" {
        // The table has no row ids on SQLite.
        "delete from terms where workspace_id = $1 and (base_id, term) in \
         (select base_id, term from terms where workspace_id = $1 limit $2)"
            .to_owned()
    } else {
        // PostgreSQL looks rows up by `ctid` only if they are in an array.
        let (row, start, end) = match conn {
            Conn::Postgres(_) => ("ctid", "= any(array(", "))"),
            Conn::Sqlite(_) => ("rowid", "in (", ")"),
        };
        let rows = format!("select {row} from {table} where workspace_id = $1 limit $2");
        format!("delete from {table} where {row} {start}{rows}{end}")
    };
    let remove = AssertSqlSafe(remove);
    Ok(on_conn!(conn, |c| sqlx::query(remove).bind(workspace).bind(limit).execute(c).await?.rows_affected()))
}

/// Completes the removal of a workspace: removes the rows of [`LAST_REMOVED_TABLES`], and clears the workspace's own row.
pub async fn finish(mut conn: Conn<'_>, workspace: WorkspaceId, now: Micros) -> Result<(), StoreError> {
    const CLEAR: &str = "update workspaces set slug = $2, name = '', allow_hosts = '', \
        default_assistant_id = null, retention_conversations = null, retention_journals = null, \
        retention_bookings = null, removed_at = $3 where id = $1";
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    workspaces::advance_config_version(conn.reborrow(), workspace).await?;
    for table in LAST_REMOVED_TABLES {
        let remove = AssertSqlSafe(format!("delete from {table} where workspace_id = $1"));
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(remove).bind(workspace).execute(c).await?;
        });
    }
    // Slugs have no capital letters, so the id of the workspace cannot be taken.
    let slug = workspace.to_string().to_uppercase();
    on_conn!(conn, |c| {
        sqlx::query(CLEAR).bind(workspace).bind(slug).bind(now).execute(c).await?;
    });
    Ok(())
}
