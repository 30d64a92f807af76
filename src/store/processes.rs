//! The leases of processes that share a PostgreSQL database.

use std::time::Duration;

use super::{Conn, StoreError, on_conn, store_now};
use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::ProcessId;

/// The lease of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLease {
    pub process: ProcessId,
    pub started_at: Micros,
    pub expires_at: Micros,
}

/// Begins or renews the lease of a process.
pub async fn renew_lease(
    mut conn: Conn<'_>,
    process: ProcessId,
    lease: Duration,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const RENEW: &str = "insert into processes (id, expires_at, started_at) values ($1, $2, $3) \
        on conflict (id) do update set expires_at = excluded.expires_at";
    let now = store_now(conn.reborrow(), clock).await?;
    on_conn!(conn, |c| {
        sqlx::query(RENEW).bind(process).bind(now.plus(lease)).bind(now).execute(c).await?;
    });
    Ok(())
}

/// The processes whose lease has not expired.
pub async fn count_live(mut conn: Conn<'_>, clock: &dyn Clock) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from processes where expires_at >= $1";
    let now = store_now(conn.reborrow(), clock).await?;
    Ok(on_conn!(conn, |c| sqlx::query_scalar(COUNT).bind(now).fetch_one(c).await?))
}

/// At most `limit` processes, the newest first, with those that ended or died in the last day.
pub async fn list(conn: Conn<'_>, limit: i64) -> Result<Vec<ProcessLease>, StoreError> {
    const LIST: &str = "select id, started_at, expires_at from processes order by id desc limit $1";
    let rows: Vec<(ProcessId, Micros, Micros)> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).fetch_all(c).await?);
    let lease = |(process, started_at, expires_at)| ProcessLease { process, started_at, expires_at };
    Ok(rows.into_iter().map(lease).collect())
}

/// Ends the lease of a process. Others may then take over its work immediately.
pub async fn release_lease(mut conn: Conn<'_>, process: ProcessId) -> Result<(), StoreError> {
    const CANCELLATIONS: &str = "delete from cancellations where owner = $1";
    const RELEASE: &str = "delete from processes where id = $1";
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(CANCELLATIONS).bind(process).execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(RELEASE).bind(process).execute(c).await?;
    });
    Ok(())
}

/// Removes leases that expired longer than `retention` ago, with the notices for their processes.
pub async fn sweep(mut conn: Conn<'_>, retention: Duration, clock: &dyn Clock) -> Result<(), StoreError> {
    const CANCELLATIONS: &str = "delete from cancellations where owner not in (select id from processes)";
    const LEASES: &str = "delete from processes where expires_at < $1";
    let before = store_now(conn.reborrow(), clock).await?.minus(retention);
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(LEASES).bind(before).execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(CANCELLATIONS).execute(c).await?;
    });
    Ok(())
}
