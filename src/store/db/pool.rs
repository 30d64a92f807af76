//! Pools of connections.
//!
//! A pool of sqlx pings each connection that is returned: one more round trip for each transaction. These pools check only a
//! connection whose last use was broken off, and one that was idle for a while, before it is used again.
//!
//! A connection to a standby is never used, not even for reads: the rows there may be old. A proxy may lead a new connection to a
//! standby, so each is checked when it is made. A server becomes a standby only by a restart, which ends its sessions, so a session
//! that was checked leads to a primary for as long as it lasts. Behind a pooler that gives each transaction another session, each
//! transaction is checked when it begins.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use backon::{ExponentialBuilder, Retryable as _};
use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{Connection, Database, PgConnection, Postgres, Row as _, Sqlite};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::error::{driver_message, is_closed};
use super::{PoolUsage, Tenant};
use crate::fair_semaphore::{FairPermit, FairSemaphore};

/// How long callers wait for a connection of a pool, and the start for its first connection.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may take to answer its check, or to close.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// Connections that were idle for less are not checked before use.
const CHECK_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Connections that were idle for longer are closed.
const MAX_IDLE: Duration = Duration::from_mins(10);
/// Older connections are replaced: a process of PostgreSQL grows with the plans that it has cached.
const MAX_AGE: Duration = Duration::from_mins(30);

/// A database that has pools.
pub trait PoolDatabase: Database {
    /// Prepares a new connection for use. Fails if it leads to a standby.
    fn set_up(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Fails if a connection is lost, or leads to a standby.
    fn check(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Begins a transaction with these statements. On PostgreSQL the last one returns why the server must not be used, or null.
    fn begin(
        conn: &mut Self::Connection,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs statements without parameters.
    fn run(
        conn: &mut Self::Connection,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl PoolDatabase for Postgres {
    async fn set_up(conn: &mut Self::Connection) -> Result<(), sqlx::Error> {
        // Plans depend on indexes alone: a table may have grown from empty to millions of rows since a plan was made, or never have
        // been analysed. Every statement that runs often reads few rows through an index.
        let statements = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; \
            set enable_hashjoin = off; set enable_mergejoin = off; set jit = off; \
            select case when pg_is_in_recovery() then 'the server is a standby' end";
        require_usable(conn, statements).await
    }

    async fn check(conn: &mut Self::Connection) -> Result<(), sqlx::Error> {
        let statement = "select case when pg_is_in_recovery() then 'the server is a standby' end";
        require_usable(conn, statement).await
    }

    async fn begin(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        require_usable(conn, statements).await
    }

    async fn run(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(conn).await.map(drop)
    }
}

impl PoolDatabase for Sqlite {
    async fn set_up(_: &mut Self::Connection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn check(conn: &mut Self::Connection) -> Result<(), sqlx::Error> {
        conn.ping().await
    }

    async fn begin(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        Self::run(conn, statements).await
    }

    async fn run(conn: &mut Self::Connection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(conn).await.map(drop)
    }
}

/// The server can be reached, and must not be used. The text says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnusableServer(String);

/// Runs statements of which only the last returns a row: why the server must not be used, or null. They are one round trip.
async fn require_usable(conn: &mut PgConnection, statements: &'static str) -> Result<(), sqlx::Error> {
    let row = sqlx::raw_sql(statements).fetch_one(conn).await?;
    match row.try_get::<Option<String>, _>(0)? {
        Some(reason) => Err(sqlx::Error::Io(io::Error::other(UnusableServer(reason)))),
        None => Ok(()),
    }
}

/// Returns true if the server can be reached and must not be used, because it is a standby or read-only.
pub(super) fn is_unusable_server(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return false };
    matches!(error.get_ref(), Some(error) if error.is::<UnusableServer>())
}

type Options<D> = <<D as Database>::Connection as Connection>::Options;
type Object<D> = managed::Object<ConnectionManager<D>>;

/// Connections to one database. Cheap to clone.
pub struct Pool<D: PoolDatabase> {
    connections: managed::Pool<ConnectionManager<D>>,
}

impl<D: PoolDatabase> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self { connections: self.connections.clone() }
    }
}

impl<D: PoolDatabase> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.connections.status()).finish()
    }
}

impl<D: PoolDatabase> Pool<D> {
    /// A pool without a connection yet.
    pub(super) fn new(options: Options<D>, max_size: u32) -> Self {
        let manager =
            ConnectionManager { options, lost_at: Mutex::default(), connect_failure: Mutex::default() };
        #[expect(clippy::expect_used, reason = "only a pool with timeouts of its own fails")]
        let connections = managed::Pool::builder(manager)
            .max_size(usize::try_from(max_size).unwrap_or(usize::MAX))
            // The connection whose statements were used last.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without timeouts");
        Self { connections }
    }

    /// Waits for a connection for at most [`ACQUIRE_TIMEOUT`].
    pub(super) async fn acquire(&self) -> Result<PooledConnection<D>, sqlx::Error> {
        timeout(ACQUIRE_TIMEOUT, self.get(None)).await.unwrap_or_else(|_| Err(self.timeout_error()))
    }

    /// Like [`Self::acquire`], including the wait for a permit of this tenant.
    pub(super) async fn acquire_shared(
        &self,
        permits: &FairSemaphore<Tenant>,
        tenant: Tenant,
    ) -> Result<PooledConnection<D>, sqlx::Error> {
        let acquired = timeout(ACQUIRE_TIMEOUT, async {
            let permit = permits.acquire(tenant, 1).await;
            self.get(Some(permit)).await
        });
        acquired.await.unwrap_or_else(|_| Err(self.timeout_error()))
    }

    async fn get(&self, permit: Option<FairPermit<Tenant>>) -> Result<PooledConnection<D>, sqlx::Error> {
        match self.connections.get().await {
            Ok(conn) => Ok(PooledConnection { conn: Some(conn), permit, state: ConnectionState::InUse }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(sqlx::Error::PoolClosed),
            Err(PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    /// No connection in time: with the reason why none could be made, if there is one.
    fn timeout_error(&self) -> sqlx::Error {
        self.connect_failure().map_or(sqlx::Error::PoolTimedOut, |reason| {
            sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
        })
    }

    /// Why the last attempt to connect failed, if that was a moment ago and none has succeeded since.
    pub(super) fn connect_failure(&self) -> Option<String> {
        let failure = self.connections.manager().connect_failure.lock();
        let failure = failure.unwrap_or_else(PoisonError::into_inner);
        let recent = failure.as_ref().filter(|failure| failure.at.elapsed() < ACQUIRE_TIMEOUT);
        recent.map(|failure| failure.reason.clone())
    }

    pub(super) fn usage(&self, pool: &'static str) -> PoolUsage {
        let status = self.connections.status();
        let idle = status.available.min(status.size);
        let max = u32::try_from(status.max_size).unwrap_or(u32::MAX);
        PoolUsage { pool, used: status.size - idle, idle, max }
    }

    /// Closes the connections that were idle for long.
    pub(super) fn close_idle(&self) {
        drop(self.connections.retain(|_, metrics| metrics.last_used() < MAX_IDLE));
    }

    /// Closes all idle connections, and the others when they are released.
    pub(super) async fn close(&self) {
        let idle = self.connections.retain(|_, _| false).removed;
        self.connections.close();
        for conn in idle {
            // The connection ends in any case.
            let _ = conn.close().await;
        }
    }
}

/// Makes connections, and checks them before they are used again.
struct ConnectionManager<D: PoolDatabase> {
    options: Options<D>,
    /// When an idle connection was last found lost. The others that were idle at that moment probably are, too.
    lost_at: Mutex<Option<Instant>>,
    /// Why the last attempt to connect failed; `None` if it succeeded.
    connect_failure: Mutex<Option<ConnectFailure>>,
}

struct ConnectFailure {
    at: Instant,
    reason: String,
}

impl<D: PoolDatabase> ConnectionManager<D> {
    async fn connect(&self) -> Result<D::Connection, sqlx::Error> {
        let mut conn = D::Connection::connect_with(&self.options).await?;
        if let Err(error) = D::set_up(&mut conn).await {
            // The connection ends in any case.
            let _ = timeout(CHECK_TIMEOUT, conn.close()).await;
            return Err(error);
        }
        Ok(conn)
    }

    fn record_connect(&self, error: Option<&sqlx::Error>) {
        let failure = error.map(|error| ConnectFailure { at: Instant::now(), reason: driver_message(error) });
        *self.connect_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// The connections that are idle now are not used again.
    fn record_loss(&self) {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl<D: PoolDatabase> managed::Manager for ConnectionManager<D> {
    type Type = D::Connection;
    type Error = sqlx::Error;

    /// Retries while the server restarts, has too many connections or is a standby, until its caller gives up: behind a proxy, the
    /// next connection may lead to the primary.
    async fn create(&self) -> Result<D::Connection, sqlx::Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_millis(500))
            .without_max_times();
        // Boxed: otherwise every caller's future has room for a connection that is made.
        let connect = (|| self.connect()).retry(backoff).when(may_connect_soon);
        let connect = connect.notify(|error: &sqlx::Error, _| self.record_connect(Some(error)));
        let connected = Box::pin(connect.into_future()).await;
        self.record_connect(connected.as_ref().err());
        connected
    }

    async fn recycle(&self, conn: &mut D::Connection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.age() > MAX_AGE || lost_at.is_some_and(|lost_at| lost_at.elapsed() < metrics.last_used()) {
            return Err(RecycleError::message("it is old, or was idle when another was lost"));
        }
        if metrics.last_used() < CHECK_AFTER_IDLE || is_usable::<D>(conn).await {
            return Ok(());
        }
        self.record_loss();
        Err(RecycleError::message("it is lost, or leads to a standby"))
    }
}

async fn is_usable<D: PoolDatabase>(conn: &mut D::Connection) -> bool {
    matches!(timeout(CHECK_TIMEOUT, Box::pin(D::check(conn))).await, Ok(Ok(())))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are answers")]
fn may_connect_soon(error: &sqlx::Error) -> bool {
    use io::ErrorKind;

    match error {
        // A proxy with no server up accepts a connection and closes it.
        error if is_unusable_server(error) || is_closed(error) => true,
        sqlx::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted)
        }
        // 53300: too many connections, as while those that this process has dropped still end. 57P01: it stops. 57P03: it starts or
        // stops.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code == "53300" || code == "57P01" || code == "57P03")
        }
        _ => false,
    }
}

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// A statement may be running, if its caller does not wait for its end.
    InUse,
    InTransaction,
    /// No statement is running.
    Done,
}

/// A connection, which returns to its pool when this is dropped, at once if its statements have ended. One in a transaction is closed
/// instead, which ends the transaction, whatever its state: SQLite ends one by itself when it cannot write its file.
pub struct PooledConnection<D: PoolDatabase> {
    /// Taken when this is dropped.
    conn: Option<Object<D>>,
    /// Free again when the connection is back in its pool.
    permit: Option<FairPermit<Tenant>>,
    state: ConnectionState,
}

impl<D: PoolDatabase> fmt::Debug for PooledConnection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<D: PoolDatabase> PooledConnection<D> {
    /// The connection to run statements on.
    #[expect(clippy::expect_used, reason = "see the field")]
    pub fn conn(&mut self) -> &mut D::Connection {
        self.conn.as_mut().expect("it is there until the drop")
    }

    /// All statements have ended.
    pub(super) fn set_done(&mut self) {
        self.state = ConnectionState::Done;
    }

    /// Begins a transaction with these statements. On a standby this fails, this connection is closed, and its idle neighbours are not
    /// used again.
    pub(super) async fn begin(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        self.state = ConnectionState::InTransaction;
        let begun = D::begin(self.conn(), statements).await;
        if begun.as_ref().is_err_and(is_unusable_server)
            && let Some(pool) = self.conn.as_ref().and_then(Object::pool)
        {
            pool.manager().record_loss();
        }
        begun
    }

    /// Ends the use: all statements have ended. Commits a transaction.
    pub(super) async fn finish(mut self) -> Result<(), sqlx::Error> {
        if self.state == ConnectionState::InTransaction {
            return self.commit().await;
        }
        self.set_done();
        Ok(())
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        D::run(self.conn(), "commit").await?;
        self.set_done();
        Ok(())
    }
}

impl<D: PoolDatabase> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        // Declared first, so that it is dropped last.
        let permit = self.permit.take();
        let Some(conn) = self.conn.take() else { return };
        match (self.state, Handle::try_current()) {
            (ConnectionState::Done, _) => {}
            (ConnectionState::InUse, Ok(runtime)) => {
                drop(runtime.spawn(async move {
                    return_if_usable(conn).await;
                    drop(permit);
                }));
            }
            (ConnectionState::InTransaction, Ok(runtime)) => {
                drop(runtime.spawn(timeout(CHECK_TIMEOUT, Object::take(conn).close())));
            }
            (ConnectionState::InUse | ConnectionState::InTransaction, Err(_)) => drop(Object::take(conn)),
        }
    }
}

/// Returns a connection whose statement may still be running, when that has ended. It says nothing of the others: its statement
/// may be slow.
async fn return_if_usable<D: PoolDatabase>(mut conn: Object<D>) {
    if !is_usable::<D>(&mut conn).await {
        drop(Object::take(conn));
    }
}
