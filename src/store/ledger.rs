//! The ledger: numbered under the workspace's lock, never changed.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, bind_chunks, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::money::Money;

const COLUMNS: &str = "workspace_id, number, kind, amount, balance_after, turn_id, reference, created_at";

#[derive(sqlx::FromRow)]
struct LedgerRow {
    workspace_id: WorkspaceId,
    number: i64,
    kind: LedgerKind,
    amount: Money,
    balance_after: Money,
    turn_id: Option<TurnId>,
    reference: Option<String>,
    created_at: Micros,
}

impl From<LedgerRow> for LedgerEntry {
    fn from(row: LedgerRow) -> Self {
        Self {
            workspace: row.workspace_id,
            number: row.number,
            kind: row.kind,
            amount: row.amount,
            balance_after: row.balance_after,
            turn: row.turn_id,
            reference: row.reference,
            created_at: row.created_at,
        }
    }
}

/// The entries after a number (0: from the first), the oldest first.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
    limit: i64,
) -> Result<Vec<LedgerEntry>, StoreError> {
    let rows: Vec<LedgerRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from ledger where workspace_id = ").push_bind(workspace);
        query.push(" and number > ").push_bind(after);
        query.push(" order by number limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(LedgerEntry::from).collect())
}

/// The entry with which a reference has counted.
pub async fn find_by_reference(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    reference: &str,
) -> Result<Option<LedgerEntry>, StoreError> {
    let row: Option<LedgerRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from ledger where workspace_id = ").push_bind(workspace);
        query.push(" and reference = ").push_bind(reference);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(row.map(LedgerEntry::from))
}

/// Those of the references that have counted, with the number of their entry.
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

pub async fn insert(mut conn: Conn<'_>, rows: &[LedgerEntry]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 8) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into ledger (");
            query.push(COLUMNS).push(") ");
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.number).push_bind(row.kind);
                values.push_bind(row.amount).push_bind(row.balance_after).push_bind(row.turn);
                values.push_bind(&row.reference).push_bind(row.created_at);
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
