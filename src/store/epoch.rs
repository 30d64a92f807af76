//! The epoch of the store, which every restore from a backup changes. Event cursors carry it, so that one from before a restore is not
//! taken for a position in what followed the backup.

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::WorkspaceId;

/// The epoch, as an expression in any statement.
macro_rules! store_epoch {
    () => {
        "coalesce((select epoch from store_epoch), 0)"
    };
}
pub(crate) use store_epoch;

/// Begins an epoch, and returns it: `now` in microseconds, or more if the clock was turned back.
pub async fn begin(conn: Conn<'_>, now: Micros) -> Result<i64, StoreError> {
    const BEGIN: &str =
        "update store_epoch set epoch = case when epoch < $1 then $1 else epoch + 1 end returning epoch";
    Ok(on_conn!(conn, |c| sqlx::query_scalar(BEGIN).bind(now).fetch_one(c).await?))
}

/// Raises the counters of events and ledger entries of the first `limit` workspaces after `after` to the epoch, so that no number from
/// before is used again, whichever backups are restored. Returns the last of these workspaces, if there is any.
pub async fn raise_counters(
    conn: Conn<'_>,
    epoch: i64,
    after: WorkspaceId,
    limit: i64,
) -> Result<Option<WorkspaceId>, StoreError> {
    const RAISE: &str = "update workspace_state set \
        next_cursor = case when next_cursor < $1 then $1 else next_cursor end, \
        next_ledger_number = case when next_ledger_number < $1 then $1 else next_ledger_number end \
        where workspace_id in (select workspace_id from workspace_state where workspace_id > $2 \
        order by workspace_id limit $3) returning workspace_id";
    let raised: Vec<WorkspaceId> = on_conn!(conn, |c| {
        sqlx::query_scalar(RAISE).bind(epoch).bind(after).bind(limit).fetch_all(c).await?
    });
    Ok(raised.into_iter().max())
}
