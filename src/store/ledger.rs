//! The ledger: entries are numbered under the workspace's lock and never change.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, insert_rows, map_row, on_conn};
use crate::domain::ids::WorkspaceId;
use crate::domain::ledger::LedgerEntry;

map_row!(
    LedgerEntry,
    "ledger",
    ledger_columns {
        workspace: "workspace_id",
        number: "number",
        kind: "kind",
        amount: "amount",
        balance_after: "balance_after",
        turn: "turn_id",
        reference: "reference",
        created_at: "created_at",
    }
);

/// The entries after a number (0: from the first), oldest first.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<Vec<LedgerEntry>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        ledger_columns!(),
        " from ledger where workspace_id = $1 and number > $2 order by number limit $3"
    );
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(after).bind(limit).fetch_all(c).await?
    }))
}

/// The entry that was booked with a reference.
pub async fn find_by_reference(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    reference: &str,
) -> Result<Option<LedgerEntry>, StoreError> {
    const FIND: &str =
        concat!("select ", ledger_columns!(), " from ledger where workspace_id = $1 and reference = $2");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(reference).fetch_optional(c).await?))
}

/// The references that were booked before, each with the number of its entry.
pub async fn references(
    conn: Conn<'_>,
    keys: &BTreeSet<(WorkspaceId, String)>,
) -> Result<Vec<(WorkspaceId, String, i64)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select workspace_id, reference, number from ledger where (workspace_id, reference) in (",
        );
        query.push_values(keys, |mut row, (workspace, reference)| {
            row.push_bind(*workspace).push_bind(reference);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    }))
}

pub async fn insert(conn: Conn<'_>, rows: &[LedgerEntry]) -> Result<(), StoreError> {
    insert_rows(conn, rows, "").await?;
    Ok(())
}
