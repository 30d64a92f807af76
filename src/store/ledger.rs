//! The ledger: entries are numbered under the workspace's lock and never change.

use std::collections::BTreeSet;

use super::{Columns, Conn, Statements, StoreError, columns, fetch, map_row, on_conn};
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
    const KEYS: Columns<(WorkspaceId, String)> =
        columns!(|key| { "key_workspace": key.0, "key_reference": &key.1 });
    const FIND: &str = "select workspace_id, reference, number from new cross join ledger \
        where workspace_id = key_workspace and reference = key_reference";
    fetch(conn, &KEYS, keys, FIND).await
}

pub fn insert(statements: &mut Statements, rows: &[LedgerEntry]) -> Result<(), StoreError> {
    statements.insert(rows, "")
}
