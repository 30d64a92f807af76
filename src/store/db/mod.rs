//! Access to the database: pools, connections, transactions, migrations, codec and errors.

mod bulk;
mod codec;
mod conn;
mod connect_error;
mod error;
mod now;
mod pool;
mod row;
mod transaction;

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, Postgres, Sqlite};
use tokio::time::timeout;

pub use bulk::Statements;
pub(crate) use bulk::{Columns, columns, execute, fetch, insert_rows, key_columns};
pub use conn::Conn;
pub(crate) use conn::on_conn;
pub use connect_error::{ConnectError, describe_postgres};
pub use error::StoreError;
pub(super) use error::is_missing_table;
pub use now::store_now;
pub use pool::{Pool, PooledConnection};
pub(crate) use row::{TableRow, from_row, insert_row, map_row};
pub use transaction::{ReadConnection, Tx};

static POSTGRES_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| compatible(sqlx::migrate!("migrations/postgres")));
static SQLITE_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| compatible(sqlx::migrate!("migrations/sqlite")));

/// The version of this binary. It refuses a database whose `schema_floor` is higher.
const BINARY_VERSION: i64 = 1;

/// How long a read may take, including the wait for its connection. Clients get their response within 5 s.
const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a write may take, including the wait for its connection. Longer than `statement_timeout` below.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long connections may take to close. The end of the process closes the others.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins a transaction that cannot keep its locks for long, even if this process hangs.
const BEGIN_POSTGRES: &str =
    "begin; set local statement_timeout = '5s'; set local idle_in_transaction_session_timeout = '2s'";

/// The most reads at the same time.
const SQLITE_READERS: u32 = 8;

/// The pages that the writer keeps in memory, in KiB as a negative number.
const SQLITE_WRITER_CACHE: &str = "-8192";
/// How many pages of 4 KiB the write-ahead log has before they are copied to the file. The pages that each message changes are
/// then copied half as often as by default, and a message waits for the copy for at most some 10 ms.
const SQLITE_CHECKPOINT: &str = "2048";

/// SQLite before this version has the WAL-reset corruption bug.
const MIN_SQLITE_VERSION: i32 = 3_051_003;

/// The pools of a PostgreSQL or an SQLite database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// A pool of its own for reads, so that a burst of reads never delays the writer.
    Postgres { write: Pool<Postgres>, read: Pool<Postgres> },
    /// `write` has a single connection; a discarded one may still be closing beside it.
    Sqlite { write: Pool<Sqlite>, read: Pool<Sqlite> },
}

/// The state of a database's schema, for this binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Ready for use. A newer version may have expanded it.
    Ready,
    /// Nothing was migrated.
    Empty,
    /// Migrations of this version are missing.
    Outdated,
    /// A newer version has migrated it, and this one cannot use it.
    TooNew,
    /// Nothing was migrated, and another program has a table of this name, which a migration would create.
    Conflict(String),
}

impl Schema {
    /// # Errors
    ///
    /// [`StoreError::Unusable`] unless this binary can use the database. The text tells what to do.
    pub fn require_ready(self) -> Result<(), StoreError> {
        let text = match self {
            Self::Ready => return Ok(()),
            Self::Empty => "the database has not been migrated; run `rejoinder migrate`",
            Self::Outdated => {
                "the database was migrated by an older version; run `rejoinder migrate` of this version"
            }
            Self::Conflict(table) => {
                return Err(StoreError::Unusable(format!(
                    "the database has a table `{table}`, and was not made by rejoinder: use an empty database"
                )));
            }
            Self::TooNew => {
                "the database was migrated by a newer version, which this version does not support: run that \
                 version, or restore the backup from before its migration"
            }
        };
        Err(StoreError::Unusable(text.to_owned()))
    }
}

/// An older binary accepts the migrations of newer ones: `schema_floor` tells when it may not.
fn compatible(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true);
    migrations
}

/// The connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// `write` or `read`.
    pub pool: &'static str,
    pub used: usize,
    pub idle: usize,
    pub max: u32,
}

impl Db {
    /// Connects to a PostgreSQL database, with pools of the given sizes.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoConnection`] if the database cannot be reached.
    pub async fn postgres(
        url: &str,
        write_connections: u32,
        read_connections: u32,
    ) -> Result<Self, StoreError> {
        let options = connect_error::parse(url)?;
        let options = options.application_name("rejoinder").statement_cache_capacity(512);
        check_connection(&options).await?;
        let pool = |connections| Pool::new(options.clone(), connections);
        Ok(Self::Postgres { write: pool(write_connections), read: pool(read_connections) })
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
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT)
            .statement_cache_capacity(512);
        let write = Pool::new(options.clone().pragma("cache_size", SQLITE_WRITER_CACHE), 1);
        let read = Pool::new(options.read_only(true), SQLITE_READERS);
        // A file that cannot be used is an error of the start.
        write.acquire().await?;
        Ok(Self::Sqlite { write, read })
    }

    /// Migrates the schema to this version. Concurrent migrations run one after the other.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self.schema().await? {
            schema @ (Schema::TooNew | Schema::Conflict(_)) => return schema.require_ready(),
            Schema::Ready => {}
            Schema::Empty | Schema::Outdated => self.check_migration_rights().await?,
        }
        match self {
            Self::Postgres { write, .. } => {
                let mut conn = write.acquire().await?;
                Box::pin(POSTGRES_MIGRATIONS.run_direct(None, conn.conn(), false)).await?;
            }
            Self::Sqlite { write, .. } => {
                let mut conn = write.acquire().await?;
                Box::pin(SQLITE_MIGRATIONS.run_direct(None, conn.conn(), false)).await?;
            }
        }
        self.check_schema().await
    }

    /// Checks that this binary, and this user of a PostgreSQL database, may use the database as it is.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        self.schema().await?.require_ready()?;
        self.check_table_rights().await
    }

    /// Checks that this user of a PostgreSQL database may read and write all tables. SQLite has no users.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] with the statement that grants the rights.
    pub async fn check_table_rights(&self) -> Result<(), StoreError> {
        // The tables of the migrations are only read.
        const TABLE: &str = "select relname::text, current_schema()::text, current_user::text from pg_class \
            where relnamespace = to_regnamespace(current_schema()) and relkind = 'r' \
            and not (has_table_privilege(oid, 'select') and (relname in ('_sqlx_migrations', 'schema_floor') \
                or (has_table_privilege(oid, 'insert') and has_table_privilege(oid, 'update') \
                    and has_table_privilege(oid, 'delete')))) \
            and relname = any($1) order by relname limit 1";
        let Self::Postgres { read, .. } = self else { return Ok(()) };
        let tables: Vec<String> = created_tables(&POSTGRES_MIGRATIONS).map(str::to_owned).collect();
        let mut conn = read.acquire().await?;
        let closed: Option<(String, String, String)> =
            sqlx::query_as(TABLE).bind(tables).fetch_optional(conn.conn()).await?;
        conn.set_done();
        closed.map_or(Ok(()), |(table, schema, user)| {
            Err(StoreError::Unusable(missing_rights(
                &format!("permission denied for table {table}"),
                &schema,
                &user,
            )))
        })
    }

    /// The state of the schema.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        const STATE: &str = "select oldest_binary, (select max(version) from _sqlx_migrations where success) \
            from schema_floor";
        let state: Result<(i64, Option<i64>), sqlx::Error> =
            self.read(async |conn| Ok(on_conn!(conn, |c| sqlx::query_as(STATE).fetch_one(c).await))).await?;
        let newest = match self {
            Self::Postgres { .. } => POSTGRES_MIGRATIONS.iter().map(|migration| migration.version).max(),
            Self::Sqlite { .. } => SQLITE_MIGRATIONS.iter().map(|migration| migration.version).max(),
        };
        match state {
            Ok((floor, _)) if floor > BINARY_VERSION => Ok(Schema::TooNew),
            Ok((_, applied)) if applied < newest => Ok(Schema::Outdated),
            Ok(_) => Ok(Schema::Ready),
            Err(sqlx::Error::Database(error)) if is_missing_table(error.as_ref()) => {
                Ok(self.conflicting_table().await?.map_or(Schema::Empty, Schema::Conflict))
            }
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                const PLACE: &str = "select coalesce(current_schema(), 'public'), current_user::text";
                let read =
                    async |conn: Conn<'_>| Ok(on_conn!(conn, |c| sqlx::query_as(PLACE).fetch_one(c).await?));
                let (schema, user): (String, String) = self.read(read).await?;
                Err(StoreError::Unusable(missing_rights(error.message(), &schema, &user)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A table that a migration would create, in a database that no process begins to migrate.
    async fn conflicting_table(&self) -> Result<Option<String>, StoreError> {
        const POSTGRES: &str = "select relname::text from pg_class \
            where relnamespace = to_regnamespace(current_schema()) and relkind in ('r', 'p', 'v', 'm', 'f')";
        const SQLITE: &str = "select lower(name) from sqlite_master where type in ('table', 'view')";
        let migrations = match self {
            Self::Postgres { .. } => &POSTGRES_MIGRATIONS,
            Self::Sqlite { .. } => &SQLITE_MIGRATIONS,
        };
        let existing: Vec<String> = self
            .read(async |conn| {
                let tables = conn.pick(POSTGRES, SQLITE);
                Ok(on_conn!(conn, |c| sqlx::query_scalar(tables).fetch_all(c).await?))
            })
            .await?;
        // Made before the tables, so another process migrates meanwhile.
        if existing.iter().any(|name| name == "_sqlx_migrations") {
            return Ok(None);
        }
        // All of an SQLite file is ours, or none.
        if !self.is_shared() {
            return Ok(existing.into_iter().find(|name| !name.starts_with("sqlite_")));
        }
        let mut ours = created_tables(migrations);
        Ok(ours.find(|table| existing.iter().any(|name| name == table)).map(str::to_owned))
    }

    /// Checks that this user of a PostgreSQL database may create tables. SQLite has no users.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] with the statement that grants the right.
    pub async fn check_migration_rights(&self) -> Result<(), StoreError> {
        const RIGHTS: &str = "select coalesce(has_schema_privilege(current_schema(), 'create'), false), \
            coalesce(current_schema(), 'public'), current_user::text";
        let Self::Postgres { write, .. } = self else { return Ok(()) };
        let (may_create, schema, user): (bool, String, String) =
            sqlx::query_as(RIGHTS).fetch_one(write.acquire().await?.conn()).await?;
        if may_create {
            return Ok(());
        }
        Err(StoreError::Unusable(format!(
            "the user {user} may not create tables in the schema {schema}; run as an administrator of the \
             database: GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}"
        )))
    }

    /// Runs reads, for at most 4 s.
    ///
    /// # Errors
    ///
    /// [`StoreError::TimedOut`] after that time.
    pub async fn read<T>(
        &self,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Boxed, as below: requests wait for much longer than they read.
        let read = Box::pin(async {
            let mut conn = self.acquire_read().await?;
            let output = work(conn.conn()).await?;
            conn.set_done();
            Ok(output)
        });
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or(Err(StoreError::TimedOut))
    }

    /// Like [`Self::read`], but all statements read the same snapshot.
    pub async fn snapshot<T>(
        &self,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let read = Box::pin(async {
            let mut tx = self.begin_snapshot().await?;
            let output = work(tx.conn()).await?;
            tx.commit().await?;
            Ok(output)
        });
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn begin_snapshot(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Postgres { read, .. } => {
                let mut conn = read.acquire().await?;
                conn.begin("begin isolation level repeatable read, read only").await?;
                Tx::Postgres(conn)
            }
            Self::Sqlite { read, .. } => {
                let mut conn = read.acquire().await?;
                conn.begin("begin").await?;
                Tx::Sqlite(conn)
            }
        })
    }

    /// Runs writes in one transaction, for at most 8 s.
    ///
    /// # Errors
    ///
    /// [`StoreError::TimedOut`] after that time. After an error that [`StoreError::is_transient`] the transaction
    /// may have been committed.
    pub async fn write<T>(
        &self,
        work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let write = Box::pin(async {
            let mut tx = self.begin().await?;
            let output = work(tx.conn()).await?;
            tx.commit().await?;
            Ok(output)
        });
        tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or(Err(StoreError::TimedOut))
    }

    /// Begins a write transaction without a timeout of its own. On SQLite it locks the whole database.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Postgres { write, .. } => {
                let mut conn = write.acquire().await?;
                conn.begin(BEGIN_POSTGRES).await?;
                Tx::Postgres(conn)
            }
            Self::Sqlite { write, .. } => {
                let mut conn = write.acquire().await?;
                conn.begin("begin immediate").await?;
                Tx::Sqlite(conn)
            }
        })
    }

    /// A connection for reads without a timeout of its own. Each statement reads a snapshot of its own.
    pub async fn acquire_read(&self) -> Result<ReadConnection, StoreError> {
        Ok(match self {
            Self::Postgres { read, .. } => ReadConnection::Postgres(read.acquire().await?),
            Self::Sqlite { read, .. } => ReadConnection::Sqlite(read.acquire().await?),
        })
    }

    /// Returns true for PostgreSQL, which several processes may share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// The connections of both pools, as they are now.
    #[must_use]
    pub fn pool_usage(&self) -> [PoolUsage; 2] {
        match self {
            Self::Postgres { write, read } => [write.usage("write"), read.usage("read")],
            Self::Sqlite { write, read } => [write.usage("write"), read.usage("read")],
        }
    }

    /// Closes the connections that were idle for long.
    pub fn close_idle(&self) {
        match self {
            Self::Postgres { write, read } => {
                write.close_idle();
                read.close_idle();
            }
            Self::Sqlite { write, read } => {
                write.close_idle();
                read.close_idle();
            }
        }
    }

    /// Closes all idle connections, for at most 5 s; the others are closed when they are released.
    pub async fn close(&self) {
        let closed = async {
            match self {
                Self::Postgres { write, read } => {
                    read.close().await;
                    write.close().await;
                }
                Self::Sqlite { write, read } => {
                    read.close().await;
                    write.close().await;
                }
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("some database connections did not close in time");
        }
    }
}

/// The tables that migrations create.
fn created_tables(migrations: &Migrator) -> impl Iterator<Item = &str> {
    let lines = migrations.iter().flat_map(|migration| migration.sql.as_str().lines());
    lines.filter_map(|line| line.strip_prefix("create table ")?.split([' ', '(']).next())
}

fn missing_rights(problem: &str, schema: &str, user: &str) -> String {
    format!(
        "{problem}; run as the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} \
         TO {user}"
    )
}

/// Connects once without a pool, because a pool retries until its timeout and hides the cause.
async fn check_connection(options: &PgConnectOptions) -> Result<(), StoreError> {
    let connect = async { PgConnection::connect_with(options).await?.close().await };
    let outcome = timeout(pool::ACQUIRE_TIMEOUT, connect).await;
    let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    outcome.map_err(|error| StoreError::NoConnection(Box::new(ConnectError::new(options, &error))))
}

fn libsqlite3_sys_version() -> i32 {
    libsqlite3_sys::SQLITE_VERSION_NUMBER
}
