//! Notices to the owners of turns that were ended by another process.

use crate::domain::ids::{ProcessId, TurnId};
use crate::store::{Columns, Conn, Statements, StoreError, columns, on_conn};

/// Notifies the owners of turns that were ended by another process.
pub fn insert(statements: &mut Statements, cancellations: &[(ProcessId, TurnId)]) -> Result<(), StoreError> {
    const ROWS: Columns<(ProcessId, TurnId)> = columns!(|row| { "owner": row.0, "turn_id": row.1 });
    const INSERT: &str = "insert into cancellations (owner, turn_id) select * from new where true \
        on conflict do nothing";
    statements.add(&ROWS, cancellations, INSERT)
}

/// Removes and returns the notices for a process: the turns that it must stop.
pub async fn drain(conn: Conn<'_>, owner: ProcessId) -> Result<Vec<TurnId>, StoreError> {
    const DRAIN: &str = "delete from cancellations where owner = $1 returning turn_id";
    let rows: Vec<(TurnId,)> = on_conn!(conn, |c| sqlx::query_as(DRAIN).bind(owner).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(turn,)| turn).collect())
}
