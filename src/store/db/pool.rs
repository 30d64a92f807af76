//! Pools of connections.
//!
//! A pool of sqlx asks each connection that is returned whether it works: one more round trip for each transaction. These pools
//! ask only before a connection is used again, and only if it was idle for a while or its last use was broken off.

use std::fmt;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use deadpool::Runtime;
use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{Connection, Database, Postgres, Sqlite};
use tokio::time::timeout;

use super::PoolUsage;

/// How long callers wait for a connection of a pool, and the start for its first connection.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// Connections that were idle for less are not asked before use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Connections that were idle for longer are closed.
const MAX_IDLE: Duration = Duration::from_mins(10);
/// Older connections are replaced: a process of PostgreSQL grows with the plans that it has cached.
const MAX_AGE: Duration = Duration::from_mins(30);

/// Plans depend on indexes alone: a table may have grown from empty to millions of rows since a plan was made, or never have been
/// analysed. Every statement that runs often reads few rows through an index.
const SET_PLANNER: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; \
    set enable_hashjoin = off; set enable_mergejoin = off; set jit = off";

/// A database that has pools.
pub trait Pooled: Database {
    /// Prepares a new connection.
    fn set_up(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs statements without parameters.
    fn run(
        conn: &mut Self::Connection,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Pooled for Postgres {
    async fn set_up(conn: &mut Self::Connection) -> Result<(), sqlx::Error> {
        Self::run(conn, SET_PLANNER).await
    }

    async fn run(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(conn).await.map(drop)
    }
}

impl Pooled for Sqlite {
    async fn set_up(_conn: &mut Self::Connection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(conn).await.map(drop)
    }
}

type Options<D> = <<D as Database>::Connection as Connection>::Options;

/// Connections to one database. Cheap to clone.
pub struct Pool<D: Pooled>(managed::Pool<Connector<D>>);

impl<D: Pooled> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Pooled> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.0.status()).finish()
    }
}

impl<D: Pooled> Pool<D> {
    /// A pool without a connection yet.
    pub(super) fn new(options: Options<D>, max_size: u32) -> Self {
        #[expect(clippy::expect_used, reason = "only a pool without a runtime fails")]
        let pool = managed::Pool::builder(Connector { options })
            .max_size(usize::try_from(max_size).unwrap_or(usize::MAX))
            .wait_timeout(Some(ACQUIRE_TIMEOUT))
            .create_timeout(Some(ACQUIRE_TIMEOUT))
            // The connection whose statements were used last.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with a runtime");
        Self(pool)
    }

    /// Waits for a connection for a limited time.
    pub(super) async fn acquire(&self) -> Result<PooledConnection<D>, sqlx::Error> {
        match self.0.get().await {
            Ok(mut conn) => {
                conn.in_doubt = true;
                Ok(PooledConnection { conn: Some(conn), in_transaction: false })
            }
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(sqlx::Error::PoolClosed),
            Err(PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    pub(super) fn usage(&self, pool: &'static str) -> PoolUsage {
        let status = self.0.status();
        let idle = status.available.min(status.size);
        let max = u32::try_from(status.max_size).unwrap_or(u32::MAX);
        PoolUsage { pool, used: status.size - idle, idle, max }
    }

    /// Closes the connections that were idle for long.
    pub(super) async fn close_idle(&self) {
        close_all(self.0.retain(|_, metrics| metrics.last_used() < MAX_IDLE).removed).await;
    }

    /// Closes all idle connections, and the others when they are released.
    pub(super) async fn close(&self) {
        let idle = self.0.retain(|_, _| false).removed;
        self.0.close();
        close_all(idle).await;
    }
}

async fn close_all<D: Pooled>(connections: Vec<Connected<D>>) {
    for connected in connections {
        // The connection ends in any case.
        let _ = connected.conn.close().await;
    }
}

/// Connects, and checks connections before they are used again.
struct Connector<D: Pooled> {
    options: Options<D>,
}

/// A connection of a pool.
struct Connected<D: Pooled> {
    conn: D::Connection,
    /// A statement may still be running, since its caller did not wait for its end.
    in_doubt: bool,
}

impl<D: Pooled> managed::Manager for Connector<D> {
    type Type = Connected<D>;
    type Error = sqlx::Error;

    /// Retries while no server listens, as during its restart, until the pool's timeout.
    async fn create(&self) -> Result<Connected<D>, sqlx::Error> {
        let connect = || async { D::Connection::connect_with(&self.options).await };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_millis(500))
            .without_max_times();
        // Boxed: otherwise every caller's future has room for a connection that is made.
        let mut conn = Box::pin(connect.retry(backoff).when(is_restarting).into_future()).await?;
        D::set_up(&mut conn).await?;
        Ok(Connected { conn, in_doubt: false })
    }

    async fn recycle(&self, connected: &mut Connected<D>, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > MAX_AGE {
            return Err(RecycleError::message("it is old"));
        }
        if !connected.in_doubt && metrics.last_used() < PING_AFTER_IDLE {
            return Ok(());
        }
        let pinged = timeout(PING_TIMEOUT, Box::pin(connected.conn.ping())).await;
        pinged.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(RecycleError::Backend)
    }
}

/// The server may accept connections soon.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are answers")]
fn is_restarting(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind;

    match error {
        sqlx::Error::Io(error) => {
            matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
            )
        }
        // cannot_connect_now: it starts or stops.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57P03"),
        _ => false,
    }
}

/// A connection, which returns to its pool when this is dropped, or is closed if it is in a transaction: this ends the transaction,
/// whatever its state. SQLite ends one by itself when it cannot write its file.
pub struct PooledConnection<D: Pooled> {
    /// Taken when this is dropped.
    conn: Option<managed::Object<Connector<D>>>,
    in_transaction: bool,
}

impl<D: Pooled> fmt::Debug for PooledConnection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("in_transaction", &self.in_transaction)
            .finish_non_exhaustive()
    }
}

impl<D: Pooled> PooledConnection<D> {
    /// The connection to run statements on.
    pub fn conn(&mut self) -> &mut D::Connection {
        &mut self.connected().conn
    }

    /// All statements have ended: the next use needs no ping.
    pub(super) fn settle(&mut self) {
        self.connected().in_doubt = false;
    }

    /// Begins a transaction with these statements.
    pub(super) async fn begin(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        D::run(self.conn(), statements).await
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        D::run(self.conn(), "commit").await?;
        self.in_transaction = false;
        self.settle();
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "see the field")]
    fn connected(&mut self) -> &mut Connected<D> {
        self.conn.as_mut().expect("it is there until the drop")
    }
}

impl<D: Pooled> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take_if(|_| self.in_transaction) {
            drop(managed::Object::take(conn));
        }
    }
}
