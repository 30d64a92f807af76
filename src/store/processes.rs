//! Processes: their leases, the turns that they claim and take over, and the ends
//! that they must hear of. Claims lock turns alone and skip those that are locked.

use sqlx::QueryBuilder;

use super::turns::{COLUMNS, TurnRow};
use super::writer::store_now;
use super::{Conn, StoreError, on_conn, portions};
use crate::domain::clock::Clock;
use crate::domain::ids::{ConversationId, ProcessId, TurnId, WorkspaceId};
use crate::domain::turn::{Door, Turn};
use std::time::Duration;

/// Renews a process's lease, or begins it.
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

/// Ends a process's lease: what it still owns may be taken over at once.
pub async fn drop_lease(mut conn: Conn<'_>, process: ProcessId) -> Result<(), StoreError> {
    const FORGET: &str = "delete from cancellations where owner = $1";
    const DROP: &str = "delete from processes where id = $1";
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(FORGET).bind(process).execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(DROP).bind(process).execute(c).await?;
    });
    Ok(())
}

/// Claims at most `limit` queued turns of a door, the longest waiting first, but none of the
/// workspaces in `except`, and none that is to be ended: past its deadline, or taken over more often
/// than `max_takeovers`, for it may kill whoever runs it.
pub async fn claim(
    mut conn: Conn<'_>,
    process: ProcessId,
    door: Door,
    limit: usize,
    except: &[WorkspaceId],
    max_takeovers: i64,
    clock: &dyn Clock,
) -> Result<Vec<Turn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update skip locked", "");
    let rows: Vec<TurnRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (w, i) as");
        query.push(materialized);
        query.push(" (select workspace_id, id from turns where state = 'queued' and door = ");
        query.push_bind(door).push(" and not_before <= ").push_bind(now);
        query.push(" and (deadline_at is null or deadline_at > ").push_bind(now);
        query.push(") and takeovers <= ").push_bind(max_takeovers);
        if !except.is_empty() {
            query.push(" and workspace_id not in (");
            let mut list = query.separated(", ");
            for workspace in except {
                list.push_bind(*workspace);
            }
            query.push(")");
        }
        query.push(" order by not_before limit ").push_bind(limit).push(skip);
        query.push(") update turns set state = 'running', owner = ").push_bind(process);
        query.push(", fence = fence + 1, not_before = ").push_bind(now);
        query.push(", first_started_at = coalesce(first_started_at, ").push_bind(now);
        query.push(") from picked where workspace_id = picked.w and id = picked.i returning ");
        query.push(COLUMNS);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Turn::from).collect())
}

/// Queues turns whose owner has no lease any more, or whose attempt has run for far too long;
/// `overdue` is how long that is. At most `limit`; how many they were.
pub async fn take_over(
    mut conn: Conn<'_>,
    taker: ProcessId,
    overdue: Duration,
    limit: i64,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let materialized = conn.pick(" materialized", "");
    let skip = conn.pick(" for no key update of t skip locked", "");
    let count = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("with picked (w, i) as");
        query.push(materialized);
        query.push(
            " (select t.workspace_id, t.id from turns t left join processes p on p.id = t.owner \
             where t.state = 'running' and t.owner <> ",
        );
        query.push_bind(taker).push(" and (p.id is null or p.expires_at < ").push_bind(now);
        query.push(" or t.not_before < ").push_bind(now.minus(overdue)).push(") limit ").push_bind(limit);
        query.push(skip);
        query.push(
            ") update turns set state = 'queued', owner = null, fence = fence + 1, takeovers = takeovers + 1, \
             not_before = ",
        );
        query.push_bind(now).push(" from picked where workspace_id = picked.w and id = picked.i");
        query.build().execute(c).await?.rows_affected()
    });
    Ok(count)
}

/// Queues every turn that is running: what the one process of an SQLite store does as it starts.
pub async fn queue_all_running(mut conn: Conn<'_>, clock: &dyn Clock) -> Result<u64, StoreError> {
    const QUEUE: &str = "update turns set state = 'queued', owner = null, fence = fence + 1, \
        takeovers = takeovers + 1, not_before = $1 where state = 'running'";
    let now = store_now(conn.reborrow(), clock).await?;
    Ok(on_conn!(conn, |c| sqlx::query(QUEUE).bind(now).execute(c).await?.rows_affected()))
}

/// The turns that the store says a process owns, with their fence.
pub async fn list_owned(
    conn: Conn<'_>,
    process: ProcessId,
) -> Result<Vec<(WorkspaceId, ConversationId, TurnId, i64)>, StoreError> {
    const OWNED: &str =
        "select workspace_id, conversation_id, id, fence from turns where owner = $1 and state = 'running'";
    Ok(on_conn!(conn, |c| sqlx::query_as(OWNED).bind(process).fetch_all(c).await?))
}

/// Open turns that are to be ended: past their deadline, or older than a turn may be.
#[derive(Clone, Debug)]
pub struct Overdue {
    pub turn: Turn,
    pub why: OverdueKind,
}

/// Why a turn is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverdueKind {
    /// A widget's client has given up.
    Deadline,
    /// Older than `turn.max_age`, or `turn.max_wait` where it never started.
    Age,
    /// Taken over more often than `turn.max_takeovers`.
    Takeovers,
}

/// The bounds of an open turn's life.
#[derive(Clone, Copy, Debug)]
pub struct LifeBounds {
    pub max_age: Duration,
    pub max_wait: Duration,
    pub max_takeovers: i64,
}

/// At most `limit` open turns that are to be ended.
pub async fn list_overdue(
    mut conn: Conn<'_>,
    bounds: LifeBounds,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<Overdue>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let too_old = now.minus(bounds.max_age);
    let waited_too_long = now.minus(bounds.max_wait);
    // Two questions, each over an index of open turns: by deadline, and by age.
    let mut rows: Vec<TurnRow> = on_conn!(conn.reborrow(), |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from turns where state in ('waiting', 'queued', 'running')");
        query.push(" and deadline_at is not null and deadline_at <= ").push_bind(now);
        query.push(" order by deadline_at limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    let left = limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(limit));
    rows.extend(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from turns where state in ('waiting', 'queued', 'running')");
        query.push(" and (deadline_at is null or deadline_at > ").push_bind(now);
        query.push(") and (first_started_at <= ").push_bind(too_old);
        query.push(" or (state = 'queued' and first_started_at is null and admitted_at <= ");
        query.push_bind(waited_too_long).push(") or takeovers > ").push_bind(bounds.max_takeovers);
        query.push(") order by admitted_at limit ").push_bind(left);
        query.build_query_as::<TurnRow>().fetch_all(c).await?
    }));
    let overdue = |turn: Turn| {
        let why = if turn.deadline_at.is_some_and(|deadline| deadline <= now) {
            OverdueKind::Deadline
        } else if turn.takeovers > bounds.max_takeovers {
            OverdueKind::Takeovers
        } else {
            OverdueKind::Age
        };
        Overdue { turn, why }
    };
    Ok(rows.into_iter().map(|row| overdue(Turn::from(row))).collect())
}

/// Leaves word for the owners of turns that were ended by another hand.
pub(super) async fn cancel(mut conn: Conn<'_>, ends: &[(ProcessId, TurnId)]) -> Result<(), StoreError> {
    for ends in portions(ends, 2) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into cancellations (owner, turn_id) ");
            query.push_values(ends, |mut values, (owner, turn)| {
                values.push_bind(*owner).push_bind(*turn);
            });
            query.push(" on conflict do nothing");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Takes the word that was left for a process: turns of its that have ended.
pub async fn take_cancellations(conn: Conn<'_>, owner: ProcessId) -> Result<Vec<TurnId>, StoreError> {
    const TAKE: &str = "delete from cancellations where owner = $1 returning turn_id";
    let rows: Vec<(TurnId,)> = on_conn!(conn, |c| sqlx::query_as(TAKE).bind(owner).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(turn,)| turn).collect())
}

/// Removes leases that expired longer than `kept` ago, and the word left for their processes.
pub async fn sweep(mut conn: Conn<'_>, kept: Duration, clock: &dyn Clock) -> Result<(), StoreError> {
    const WORD: &str = "delete from cancellations where owner not in (select id from processes)";
    const LEASES: &str = "delete from processes where expires_at < $1";
    let before = store_now(conn.reborrow(), clock).await?.minus(kept);
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(LEASES).bind(before).execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(WORD).execute(c).await?;
    });
    Ok(())
}
