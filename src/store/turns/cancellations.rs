//! Notices to the owners of turns that were ended by another process.

use sqlx::QueryBuilder;

use crate::domain::ids::{ProcessId, TurnId};
use crate::store::{Conn, StoreError, bind_chunks, on_conn};

/// Notifies the owners of turns that were ended by another process.
pub async fn insert(mut conn: Conn<'_>, cancellations: &[(ProcessId, TurnId)]) -> Result<(), StoreError> {
    for cancellations in bind_chunks(cancellations, 2) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into cancellations (owner, turn_id) ");
            query.push_values(cancellations, |mut values, (owner, turn)| {
                values.push_bind(*owner).push_bind(*turn);
            });
            query.push(" on conflict do nothing");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Removes and returns the notices for a process: the turns that it must stop.
pub async fn drain(conn: Conn<'_>, owner: ProcessId) -> Result<Vec<TurnId>, StoreError> {
    const DRAIN: &str = "delete from cancellations where owner = $1 returning turn_id";
    let rows: Vec<(TurnId,)> = on_conn!(conn, |c| sqlx::query_as(DRAIN).bind(owner).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(turn,)| turn).collect())
}
