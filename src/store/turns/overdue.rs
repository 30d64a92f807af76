//! Open turns that are to be ended, whoever runs them.

use std::time::Duration;

use sqlx::QueryBuilder;

use super::{COLUMNS, TurnRow};
use crate::domain::clock::Clock;
use crate::domain::turn::Turn;
use crate::store::{Conn, StoreError, on_conn, store_now};

/// Open turns that are to be ended: past their deadline, or older than a turn may be.
#[derive(Clone, Debug)]
pub struct OverdueTurn {
    pub turn: Turn,
    pub reason: OverdueReason,
}

/// Why a turn is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverdueReason {
    /// A widget's client has given up.
    Deadline,
    /// Older than `turn.max_age`, or `turn.max_wait` where it never started.
    Age,
    /// Taken over more often than `turn.max_takeovers`.
    Takeovers,
}

/// The bounds of an open turn's life.
#[derive(Clone, Copy, Debug)]
pub struct LifetimeLimits {
    pub max_age: Duration,
    pub max_wait: Duration,
    pub max_takeovers: i64,
}

/// At most `limit` open turns that are to be ended.
pub async fn list(
    mut conn: Conn<'_>,
    limits: LifetimeLimits,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<OverdueTurn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let too_old = now.minus(limits.max_age);
    let waited_too_long = now.minus(limits.max_wait);
    let mut overdue = Vec::new();
    for reason in [OverdueReason::Deadline, OverdueReason::Takeovers, OverdueReason::Age] {
        let left = limit.saturating_sub(i64::try_from(overdue.len()).unwrap_or(limit));
        let rows: Vec<TurnRow> = on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("select ");
            query.push(COLUMNS).push(" from turns where state in ('waiting', 'queued', 'running') and ");
            // Each over an index of open turns; one that is overdue twice is named once.
            match reason {
                OverdueReason::Deadline => {
                    query.push("deadline_at <= ").push_bind(now).push(" order by deadline_at");
                }
                OverdueReason::Takeovers => {
                    query.push("takeovers > 0 and takeovers > ").push_bind(limits.max_takeovers);
                    query.push(" and (deadline_at is null or deadline_at > ").push_bind(now).push(")");
                }
                OverdueReason::Age => {
                    query.push("admitted_at <= ").push_bind(too_old.max(waited_too_long));
                    query.push(" and (first_started_at <= ").push_bind(too_old);
                    query.push(" or (state = 'queued' and first_started_at is null and admitted_at <= ");
                    query.push_bind(waited_too_long).push(")) and takeovers <= ");
                    query.push_bind(limits.max_takeovers);
                    query.push(" and (deadline_at is null or deadline_at > ").push_bind(now);
                    query.push(") order by admitted_at");
                }
            }
            query.push(" limit ").push_bind(left);
            query.build_query_as().fetch_all(c).await?
        });
        overdue.extend(rows.into_iter().map(|row| OverdueTurn { turn: row.into(), reason }));
    }
    Ok(overdue)
}
