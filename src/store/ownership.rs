//! Ownership of running turns and deliveries: takeovers, the hand-back when the only process starts, and the list of the
//! work that a process owns. Claims differ between turns and deliveries, and are in the modules of their tables.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::{Conn, StoreError, on_conn, store_now};
use crate::domain::clock::Clock;
use crate::domain::delivery::DeliveryKey;
use crate::domain::ids::{ConversationId, EndpointId, ProcessId, TurnId, WorkspaceId};
use crate::domain::turn::TurnRef;

/// Work that a process owns, with its current fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owned<K> {
    pub key: K,
    pub fence: i64,
}

/// A kind of work that processes own.
pub trait OwnedWork: Sized {
    #[doc(hidden)]
    const STATEMENTS: Statements;
    /// The columns that [`Self::from_columns`] reads: the key and the fence.
    type Columns: for<'r> sqlx::FromRow<'r, PgRow> + for<'r> sqlx::FromRow<'r, SqliteRow> + Send + Unpin;

    #[doc(hidden)]
    fn from_columns(columns: Self::Columns) -> Owned<Self>;
}

/// The statements over one table. `$1` is the time of the database clock, except in `list_owned`.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    /// `$2`: process; `$3`: limit; `$4`: whether expired leases count, too. With timed attempts, `$5`: an attempt that
    /// started before this time has run for too long.
    take_over_postgres: &'static str,
    take_over_sqlite: &'static str,
    queue_all_running: &'static str,
    /// `$1`: process.
    list_owned: &'static str,
    /// Whether `not_before` of running work is the start of its attempt; it is then reset when the work is queued.
    has_timed_attempts: bool,
}

macro_rules! take_over {
    ($table:literal, [$($key:literal),+], $or_overdue:literal, $also_set:literal, $materialized:literal, $skip_locked:literal) => {
        concat!(
            "with picked as ", $materialized, " (select owned.workspace_id", $(", owned.", $key,)+
            " from ", $table, " owned left join processes p on p.id = owned.owner \
             where owned.state = 'running' and owned.owner <> $2 \
             and (p.id is null or ($4 and p.expires_at < $1)", $or_overdue, ") limit $3", $skip_locked,
            ") update ", $table, " as owned set state = 'queued', owner = null, fence = owned.fence + 1", $also_set,
            " from picked where owned.workspace_id = picked.workspace_id"
            $(, " and owned.", $key, " = picked.", $key)+
        )
    };
}

macro_rules! statements {
    ($table:literal, key: [$($key:literal),+], columns: $columns:literal, timed: $timed:literal,
     or_overdue: $or_overdue:literal, also_set: $also_set:literal) => {
        Statements {
            take_over_postgres: take_over!(
                $table, [$($key),+], $or_overdue, $also_set, "materialized", " for no key update of owned skip locked"
            ),
            take_over_sqlite: take_over!($table, [$($key),+], $or_overdue, $also_set, "", ""),
            queue_all_running: concat!(
                "update ", $table, " as owned set state = 'queued', owner = null, fence = owned.fence + 1", $also_set,
                " where state = 'running'"
            ),
            list_owned: concat!(
                "select workspace_id, ", $columns, ", fence from ", $table, " where owner = $1 and state = 'running'"
            ),
            has_timed_attempts: $timed,
        }
    };
}

impl OwnedWork for TurnRef {
    const STATEMENTS: Statements = statements!(
        "turns",
        key: ["id"],
        columns: "conversation_id, id",
        timed: true,
        or_overdue: " or owned.not_before < $5",
        // An owner that streamed the reply is not waited for.
        also_set: ", takeovers = owned.takeovers + 1, not_before = $1, \
            stream_process = nullif(owned.stream_process, owned.owner)"
    );
    type Columns = (WorkspaceId, ConversationId, TurnId, i64);

    fn from_columns((workspace, conversation, turn, fence): Self::Columns) -> Owned<Self> {
        Owned { key: Self { workspace, conversation, turn }, fence }
    }
}

impl OwnedWork for DeliveryKey {
    const STATEMENTS: Statements = statements!(
        "deliveries",
        key: ["endpoint_id", "cursor"],
        columns: "endpoint_id, cursor",
        timed: false,
        or_overdue: "",
        also_set: ""
    );
    type Columns = (WorkspaceId, EndpointId, i64, i64);

    fn from_columns((workspace, endpoint, cursor, fence): Self::Columns) -> Owned<Self> {
        Owned { key: Self { workspace, endpoint, cursor }, fence }
    }
}

/// Queues at most `limit` items of work whose owner has no lease and returns their number. With `attempt_timeout` it also
/// queues work whose owner's lease has expired, and turns whose attempt has run for longer than that.
pub async fn take_over<K: OwnedWork>(
    mut conn: Conn<'_>,
    process: ProcessId,
    attempt_timeout: Option<Duration>,
    limit: u64,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = conn.pick(K::STATEMENTS.take_over_postgres, K::STATEMENTS.take_over_sqlite);
    let count = on_conn!(conn, |c| {
        let mut query =
            sqlx::query(statement).bind(now).bind(process).bind(limit).bind(attempt_timeout.is_some());
        if K::STATEMENTS.has_timed_attempts {
            // Without a timeout this binds null, which no time is before.
            query = query.bind(attempt_timeout.map(|timeout| now.minus(timeout)));
        }
        query.execute(c).await?.rows_affected()
    });
    Ok(count)
}

/// Queues all running work and returns how much it was. The only process of an SQLite database does so when it starts.
pub async fn queue_all_running<K: OwnedWork>(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let count = on_conn!(conn, |c| {
        let mut query = sqlx::query(K::STATEMENTS.queue_all_running);
        if K::STATEMENTS.has_timed_attempts {
            query = query.bind(now);
        }
        query.execute(c).await?.rows_affected()
    });
    Ok(count)
}

/// The work that a process owns according to the database.
pub async fn list_owned<K: OwnedWork>(
    conn: Conn<'_>,
    process: ProcessId,
) -> Result<Vec<Owned<K>>, StoreError> {
    let rows: Vec<K::Columns> =
        on_conn!(conn, |c| sqlx::query_as(K::STATEMENTS.list_owned).bind(process).fetch_all(c).await?);
    Ok(rows.into_iter().map(K::from_columns).collect())
}
