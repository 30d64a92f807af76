//! Notices to the owners of turns: another process has ended the turn, or asks them to stop it.

use std::collections::BTreeMap;

use crate::domain::ids::{ProcessId, TurnId};
use crate::store::{Columns, Conn, Statements, StoreError, columns, on_conn};

/// Notices by owner and turn; true if the owner is asked to stop the turn and to end it.
pub type Notices = BTreeMap<(ProcessId, TurnId), bool>;

type Notice = (ProcessId, TurnId, bool);

/// Notifies owners. A turn that was to be stopped may have ended since.
pub fn insert(statements: &mut Statements, notices: &Notices) -> Result<(), StoreError> {
    const ROWS: Columns<Notice> = columns!(|row| { "owner": row.0, "turn_id": row.1, "is_stop": row.2 });
    const INSERT: &str = "insert into cancellations (owner, turn_id, is_stop) select * from new where true \
        on conflict (owner, turn_id) do update set is_stop = cancellations.is_stop and excluded.is_stop";
    let rows: Vec<Notice> =
        notices.iter().map(|((owner, turn), is_stop)| (*owner, *turn, *is_stop)).collect();
    statements.add(&ROWS, &rows, INSERT)
}

/// Removes and returns the notices for a process: the turns that it must stop, and whether it ends them itself.
pub async fn drain(conn: Conn<'_>, owner: ProcessId) -> Result<Vec<(TurnId, bool)>, StoreError> {
    const DRAIN: &str = "delete from cancellations where owner = $1 returning turn_id, is_stop";
    Ok(on_conn!(conn, |c| sqlx::query_as(DRAIN).bind(owner).fetch_all(c).await?))
}
