//! Access to the database: pools, connections, transactions, migrations, codec and errors.

mod bulk;
mod codec;
mod conn;
mod connect_error;
mod error;
mod now;
mod page;
mod pool;
mod pools;
mod remnants;
mod row;
mod schema;
mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Sqlite};
use tokio::time::timeout;

pub use bulk::Statements;
pub(crate) use bulk::{Columns, columns, execute, fetch, insert_rows, key_columns};
pub use conn::Conn;
pub(crate) use conn::on_conn;
pub use connect_error::{ConnectError, describe_postgres};
pub use error::StoreError;
pub(super) use error::is_missing_table;
pub use now::store_now;
pub(crate) use page::{PageRow, page_condition, page_end, page_of, page_start};
pub use page::{PageRows, ReadLimit};
use pool::PoolDatabase as _;
pub use pool::{Pool, PooledConnection};
use pools::{CONTROL_CONNECTIONS, HEALTH_CONNECTIONS, Purpose, read_permits, write_permits};
pub use pools::{OTHER_WRITES, PoolUsage, Pools, Tenant};
pub(crate) use row::{TableRow, from_row, insert_row, map_row};
pub use schema::Schema;
pub use transaction::{ReadConnection, Tx};

/// How long a read may take, including the wait for its connection. Clients get their response within 5 s.
const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a write may take, including the wait for its connection. Longer than `statement_timeout` below.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long connections may take to close. The end of the process closes the others.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins a transaction that cannot keep its locks for long, even if this process hangs. A transaction of a standby is read-only.
const BEGIN_POSTGRES: &str = "begin; set local statement_timeout = '5s'; set local idle_in_transaction_session_timeout = '2s'; \
     select case when pg_is_in_recovery() then 'the server is a standby' \
     when current_setting('transaction_read_only') = 'on' then 'the server is read-only' end";

/// Begins a transaction of reads behind a transaction pooler. As elsewhere, a server that is read-only is read, and the statements of a
/// command may take long.
const BEGIN_READ: &str = "begin; set local idle_in_transaction_session_timeout = '2s'; \
    select case when pg_is_in_recovery() then 'the server is a standby' end";

/// Begins a transaction whose statements read the same snapshot.
const BEGIN_SNAPSHOT: &str = "begin isolation level repeatable read, read only; \
    set local idle_in_transaction_session_timeout = '2s'; \
    select case when pg_is_in_recovery() then 'the server is a standby' end";

/// The most reads at the same time.
const SQLITE_READERS: u32 = 8;

/// The pages that the writer keeps in memory, in KiB as a negative number.
const SQLITE_WRITER_CACHE: &str = "-8192";
/// How many pages of 4 KiB the write-ahead log has before they are copied to the file. The pages that each message changes are
/// then copied half as often as by default, and a message waits for the copy for at most some 10 ms.
const SQLITE_CHECKPOINT: &str = "2048";

/// SQLite before this version has the WAL-reset corruption bug.
const MIN_SQLITE_VERSION: i32 = 3_051_003;

const UNDECLARED_POOLER: &str = "DATABASE_URL leads to a pooler in transaction mode: set `store.transaction_pooler` \
    (REJOINDER_STORE__TRANSACTION_POOLER) to true";

/// The statements that a connection keeps prepared, by default: more than there are.
const STATEMENT_CACHE: usize = 512;

/// How a PostgreSQL database is used.
#[derive(Clone, Copy, Debug)]
pub struct PostgresSettings {
    pub write_connections: u32,
    pub read_connections: u32,
    /// How many statements a connection keeps prepared, unless the URL says it. At least 1.
    pub statement_cache: usize,
    /// Whether the URL leads to a pooler that gives each transaction another session of the server.
    pub transaction_pooler: bool,
}

impl PostgresSettings {
    /// The default settings, with these numbers of connections.
    #[must_use]
    pub fn new(write_connections: u32, read_connections: u32) -> Self {
        Self {
            write_connections,
            read_connections,
            statement_cache: STATEMENT_CACHE,
            transaction_pooler: false,
        }
    }
}

/// A PostgreSQL or an SQLite database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    Postgres(Arc<Pools<Postgres>>),
    Sqlite(Arc<Pools<Sqlite>>),
}

impl Db {
    /// Connects to a PostgreSQL database, with pools of the given sizes, and up to four connections for control and health. Of those for
    /// writes, [`OTHER_WRITES`] are not the writer's.
    ///
    /// # Errors
    ///
    /// See [`Self::postgres_with`].
    pub async fn postgres(
        url: &str,
        write_connections: u32,
        read_connections: u32,
    ) -> Result<Self, StoreError> {
        Self::postgres_with(url, PostgresSettings::new(write_connections, read_connections)).await
    }

    /// Connects to a PostgreSQL database, with up to four connections for control and health besides those of the settings.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoConnection`] if the database cannot be reached or is a standby. [`StoreError::Unusable`] if the URL is invalid,
    /// or leads to a transaction pooler that the settings do not declare.
    pub async fn postgres_with(url: &str, settings: PostgresSettings) -> Result<Self, StoreError> {
        let PostgresSettings { write_connections, read_connections, statement_cache, transaction_pooler } =
            settings;
        let options = connect_error::parse(url, statement_cache)?.application_name("rejoinder");
        let has_transaction_pooler = check_connection(&options).await?;
        if has_transaction_pooler && !transaction_pooler {
            return Err(StoreError::Unusable(UNDECLARED_POOLER.to_owned()));
        }
        let pool = |connections| Pool::new(options.clone(), connections);
        let control: Pool<Postgres> = pool(CONTROL_CONNECTIONS);
        Ok(Self::Postgres(Arc::new(Pools {
            write: pool(write_connections),
            write_permits: write_permits(write_connections.min(OTHER_WRITES)),
            read: pool(read_connections),
            read_permits: read_permits(read_connections),
            control_write: control.clone(),
            control_read: control,
            health: pool(HEALTH_CONNECTIONS),
            transaction_pooler,
        })))
    }

    /// Opens the SQLite database in `file`, which is created if it does not exist.
    pub async fn sqlite(file: &Path) -> Result<Self, StoreError> {
        if libsqlite3_sys_version() < MIN_SQLITE_VERSION {
            return Err(StoreError::Unusable(
                "this binary was built with a version of SQLite before 3.51.3".to_owned(),
            ));
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // Otherwise each statement over several rows writes the pages that it changes to a temporary file first.
            .pragma("temp_store", "memory")
            // What is erased must not be left in the file.
            .pragma("secure_delete", "on")
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT)
            .statement_cache_capacity(STATEMENT_CACHE);
        let write: Pool<Sqlite> = Pool::new(options.clone().pragma("cache_size", SQLITE_WRITER_CACHE), 1);
        let reading = options.read_only(true);
        let read = |connections| Pool::new(reading.clone(), connections);
        // A file that cannot be used is an error of the start.
        write.acquire().await?;
        Ok(Self::Sqlite(Arc::new(Pools {
            control_write: write.clone(),
            write,
            write_permits: write_permits(1),
            read: read(SQLITE_READERS),
            read_permits: read_permits(SQLITE_READERS),
            control_read: read(CONTROL_CONNECTIONS),
            health: read(HEALTH_CONNECTIONS),
            transaction_pooler: false,
        })))
    }

    /// Runs reads for a tenant, for at most 4 s. `work` must not use another connection for reads: a tenant may have only one.
    ///
    /// # Errors
    ///
    /// [`StoreError::TimedOut`] after that time.
    pub fn read<T>(
        &self,
        tenant: impl Into<Tenant>,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.read_for(Purpose::Work(tenant.into()), work)
    }

    /// Like [`Self::read`], for the process itself: no request of a client makes it wait for a connection.
    pub fn control_read<T>(
        &self,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.read_for(Purpose::Control, work)
    }

    async fn read_for<T>(
        &self,
        purpose: Purpose,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Boxed, as below: requests wait for much longer than they read.
        let read = Box::pin(async {
            let mut conn = self.acquire_for(purpose).await?;
            let output = work(conn.conn()).await?;
            conn.finish().await?;
            Ok(output)
        });
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or(Err(StoreError::TimedOut))
    }

    /// Like [`Self::read`], but all statements read the same snapshot.
    pub async fn snapshot<T>(
        &self,
        tenant: impl Into<Tenant>,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let purpose = Purpose::Work(tenant.into());
        let read = Box::pin(async {
            let mut tx = self.begin_snapshot(purpose).await?;
            let output = work(tx.conn()).await?;
            tx.commit().await?;
            Ok(output)
        });
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn begin_snapshot(&self, purpose: Purpose) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Postgres(pools) => {
                let mut conn = pools.acquire_read(purpose).await?;
                conn.begin(BEGIN_SNAPSHOT).await?;
                Tx::Postgres(conn)
            }
            Self::Sqlite(pools) => {
                let mut conn = pools.acquire_read(purpose).await?;
                conn.begin("begin").await?;
                Tx::Sqlite(conn)
            }
        })
    }

    /// Runs writes for a tenant in one transaction, for at most 8 s. `work` must not begin another.
    ///
    /// # Errors
    ///
    /// [`StoreError::TimedOut`] after that time. After an error that [`StoreError::is_transient`] the transaction
    /// may have been committed.
    pub fn write<T>(
        &self,
        tenant: impl Into<Tenant>,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.write_for(Purpose::Work(tenant.into()), work)
    }

    /// Like [`Self::write`], for the process itself. On PostgreSQL no request of a client makes it wait for a connection; SQLite has
    /// one writer.
    pub fn control_write<T>(
        &self,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.write_for(Purpose::Control, work)
    }

    async fn write_for<T>(
        &self,
        purpose: Purpose,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let write = Box::pin(async {
            let mut tx = self.begin_for(purpose).await?;
            let output = work(tx.conn()).await?;
            tx.commit().await?;
            Ok(output)
        });
        tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or(Err(StoreError::TimedOut))
    }

    /// Begins a write transaction of the writer or of a command, without a timeout of its own and without a permit. On SQLite it locks the
    /// whole database.
    pub fn begin(&self) -> impl Future<Output = Result<Tx, StoreError>> {
        self.begin_for(Purpose::Unshared)
    }

    async fn begin_for(&self, purpose: Purpose) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Postgres(pools) => {
                let mut conn = pools.acquire_write(purpose).await?;
                conn.begin(BEGIN_POSTGRES).await?;
                Tx::Postgres(conn)
            }
            Self::Sqlite(pools) => {
                let mut conn = pools.acquire_write(purpose).await?;
                conn.begin("begin immediate").await?;
                Tx::Sqlite(conn)
            }
        })
    }

    /// A connection for reads of a command, without a timeout of its own and without a permit. Each statement reads a snapshot of its own.
    pub fn acquire_read(&self) -> impl Future<Output = Result<ReadConnection, StoreError>> {
        self.acquire_for(Purpose::Unshared)
    }

    async fn acquire_for(&self, purpose: Purpose) -> Result<ReadConnection, StoreError> {
        Ok(match self {
            Self::Postgres(pools) => {
                let mut conn = pools.acquire_read(purpose).await?;
                // A connection to the pooler says nothing about the server of its next transaction.
                if pools.transaction_pooler {
                    conn.begin(BEGIN_READ).await?;
                }
                ReadConnection::Postgres(conn)
            }
            Self::Sqlite(pools) => ReadConnection::Sqlite(pools.acquire_read(purpose).await?),
        })
    }

    /// Returns true for PostgreSQL, which several processes may share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Why the database could not be connected to a moment ago, for the readiness check.
    #[must_use]
    pub fn connect_failure(&self) -> Option<String> {
        match self {
            Self::Postgres(pools) => pools.health.connect_failure(),
            Self::Sqlite(pools) => pools.health.connect_failure(),
        }
    }

    /// Returns true behind a pooler that gives each transaction another session of the server.
    fn has_transaction_pooler(&self) -> bool {
        match self {
            Self::Postgres(pools) => pools.transaction_pooler,
            Self::Sqlite(pools) => pools.transaction_pooler,
        }
    }

    /// The connections of all pools, as they are now.
    #[must_use]
    pub fn pool_usage(&self) -> [PoolUsage; 4] {
        match self {
            Self::Postgres(pools) => pools.usage(),
            Self::Sqlite(pools) => pools.usage(),
        }
    }

    /// The most connections for reads that one tenant uses, and how many one may use.
    #[must_use]
    pub fn largest_reader(&self) -> (usize, usize) {
        match self {
            Self::Postgres(pools) => pools.read_permits.largest_key(),
            Self::Sqlite(pools) => pools.read_permits.largest_key(),
        }
    }

    /// Closes the connections that were idle for long.
    pub fn close_idle(&self) {
        match self {
            Self::Postgres(pools) => pools.close_idle(),
            Self::Sqlite(pools) => pools.close_idle(),
        }
    }

    /// Closes all idle connections, for at most 5 s; the others are closed when they are released.
    pub async fn close(&self) {
        let closed = async {
            match self {
                Self::Postgres(pools) => pools.close().await,
                Self::Sqlite(pools) => pools.close().await,
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("some database connections did not close in time");
        }
    }
}

/// Connects without a pool, because a pool retries until its timeout and hides the cause. Returns true if two connections share a
/// session of the server, or if one changes it, as behind a pooler that others use: then a transaction pooler is in between.
async fn check_connection(options: &PgConnectOptions) -> Result<bool, StoreError> {
    let connect = async {
        let mut first = PgConnection::connect_with(options).await?;
        Postgres::check(&mut first).await?;
        let mut second = PgConnection::connect_with(options).await?;
        let (before, other) = (session(&mut first).await?, session(&mut second).await?);
        let after = session(&mut first).await?;
        first.close().await?;
        second.close().await?;
        Ok::<_, sqlx::Error>(before == other || before != after)
    };
    let outcome = timeout(pool::ACQUIRE_TIMEOUT, connect).await;
    let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    outcome.map_err(|error| StoreError::NoConnection(Box::new(ConnectError::new(options, &error))))
}

/// The process of the server that runs this statement.
async fn session(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(conn).await?.try_get(0)
}

fn libsqlite3_sys_version() -> i32 {
    libsqlite3_sys::SQLITE_VERSION_NUMBER
}
