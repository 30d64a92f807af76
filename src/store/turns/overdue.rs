//! Open turns that are due to be ended, whichever process runs them.

use std::time::Duration;

use crate::domain::clock::Clock;
use crate::domain::turn::Turn;
use crate::store::{Conn, StoreError, on_conn, store_now};

/// An open turn that is due to be ended.
#[derive(Clone, Debug)]
pub struct OverdueTurn {
    pub turn: Turn,
    pub reason: OverdueReason,
}

/// The reason to end a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverdueReason {
    /// The widget client's deadline has passed.
    Deadline,
    /// The turn started longer than `turn.max_age` ago, or has waited for its start longer than `turn.max_wait`.
    Age,
    /// The turn was taken over more than `turn.max_takeovers` times.
    Takeovers,
}

/// The limits of an open turn.
#[derive(Clone, Copy, Debug)]
pub struct LifetimeLimits {
    pub max_age: Duration,
    pub max_wait: Duration,
    pub max_takeovers: i64,
}

// One statement for each reason, because each uses another index of open turns. A turn that is overdue for
// several reasons is listed once.
const PAST_DEADLINE: &str = concat!(
    "select ",
    turn_columns!(),
    " from turns where state in ('waiting', 'queued', 'running') and deadline_at <= $1 \
     order by deadline_at limit $2"
);
const TAKEN_OVER: &str = concat!(
    "select ",
    turn_columns!(),
    " from turns where state in ('waiting', 'queued', 'running') and takeovers > 0 and takeovers > $3 \
     and (deadline_at is null or deadline_at > $1) limit $2"
);
const TOO_OLD: &str = concat!(
    "select ",
    turn_columns!(),
    " from turns where state in ('waiting', 'queued', 'running') and admitted_at <= $4 and (first_started_at <= $5 \
     or (state = 'queued' and first_started_at is null and admitted_at <= $6)) and takeovers <= $3 \
     and (deadline_at is null or deadline_at > $1) order by admitted_at limit $2"
);

/// At most `limit` overdue turns.
pub async fn list(
    mut conn: Conn<'_>,
    limits: LifetimeLimits,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<OverdueTurn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let started_before = now.minus(limits.max_age);
    let queued_before = now.minus(limits.max_wait);
    let mut overdue = Vec::new();
    for reason in [OverdueReason::Deadline, OverdueReason::Takeovers, OverdueReason::Age] {
        let left = limit.saturating_sub(i64::try_from(overdue.len()).unwrap_or(limit));
        let turns: Vec<Turn> = on_conn!(conn.reborrow(), |c| {
            let query = match reason {
                OverdueReason::Deadline => sqlx::query_as(PAST_DEADLINE).bind(now).bind(left),
                OverdueReason::Takeovers => {
                    sqlx::query_as(TAKEN_OVER).bind(now).bind(left).bind(limits.max_takeovers)
                }
                OverdueReason::Age => {
                    let query = sqlx::query_as(TOO_OLD).bind(now).bind(left).bind(limits.max_takeovers);
                    query.bind(started_before.max(queued_before)).bind(started_before).bind(queued_before)
                }
            };
            query.fetch_all(c).await?
        });
        overdue.extend(turns.into_iter().map(|turn| OverdueTurn { turn, reason }));
    }
    Ok(overdue)
}
