//! The epoch of the store, which every restore from a backup changes. Event cursors carry it, so that one from before a restore is not
//! taken for a position in what followed the backup.

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;

/// The epoch, as an expression in any statement.
macro_rules! store_epoch {
    () => {
        "coalesce((select epoch from store_epoch), 0)"
    };
}
pub(crate) use store_epoch;

/// Begins an epoch, and returns it. Events and ledger entries then count up from `now` in microseconds, and not from their number at the
/// backup, so that no number is used again, whichever backups are restored.
pub async fn begin(mut conn: Conn<'_>, now: Micros) -> Result<i64, StoreError> {
    const BEGIN: &str =
        "update store_epoch set epoch = case when epoch < $1 then $1 else epoch + 1 end returning epoch";
    const RAISE: &str = "update workspace_state set \
        next_cursor = case when next_cursor < $1 then $1 else next_cursor end, \
        next_ledger_number = case when next_ledger_number < $1 then $1 else next_ledger_number end";
    let (epoch,): (i64,) =
        on_conn!(conn.reborrow(), |c| sqlx::query_as(BEGIN).bind(now).fetch_one(c).await?);
    on_conn!(conn, |c| {
        sqlx::query(RAISE).bind(epoch).execute(c).await?;
    });
    Ok(epoch)
}
