//! The schema: its migrations, whether this binary may use it, and the rights of the user of a PostgreSQL database.

use std::sync::LazyLock;

use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;

use super::pools::Purpose;
use super::{Conn, Db, StoreError, is_missing_table, on_conn};

static POSTGRES_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| compatible(sqlx::migrate!("migrations/postgres")));
static SQLITE_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| compatible(sqlx::migrate!("migrations/sqlite")));

/// The oldest binary that may serve, the newest migration, and the first that failed halfway.
type State = (i64, Option<i64>, Option<i64>);

/// The version of this binary. It refuses a database whose `schema_floor` is higher.
const BINARY_VERSION: i64 = 5;

/// The lock of a migration belongs to a session, which a transaction pooler does not keep.
const MIGRATION_BEHIND_POOLER: &str = "a pooler in transaction mode cannot migrate the database: run `rejoinder migrate` with a \
    DATABASE_URL of the server itself, and without `store.transaction_pooler`";

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
    /// This migration has begun and was not completed.
    Incomplete(i64),
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
            Self::Incomplete(migration) => {
                return Err(StoreError::Unusable(format!(
                    "the migration {migration} of the database has failed halfway: restore the backup from before it"
                )));
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

impl Db {
    /// Migrates the schema to this version. Concurrent migrations run one after the other.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self.schema().await? {
            schema @ (Schema::TooNew | Schema::Incomplete(_) | Schema::Conflict(_)) => {
                return schema.require_ready();
            }
            Schema::Ready if self.has_transaction_pooler() => return self.check_schema().await,
            Schema::Empty | Schema::Outdated if self.has_transaction_pooler() => {
                return Err(StoreError::Unusable(MIGRATION_BEHIND_POOLER.to_owned()));
            }
            Schema::Ready => {}
            Schema::Empty | Schema::Outdated => self.check_migration_rights().await?,
        }
        match self {
            Self::Postgres(pools) => {
                let mut conn = pools.write.acquire().await?;
                Box::pin(POSTGRES_MIGRATIONS.run_direct(None, conn.conn(), false)).await?;
            }
            Self::Sqlite(pools) => {
                let mut conn = pools.write.acquire().await?;
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
        let Self::Postgres(pools) = self else { return Ok(()) };
        let tables: Vec<String> = created_tables(&POSTGRES_MIGRATIONS).map(str::to_owned).collect();
        let mut conn = pools.health.acquire().await?;
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
        const STATE: &str = "select oldest_binary, (select max(version) from _sqlx_migrations where success), \
            (select min(version) from _sqlx_migrations where not success) from schema_floor";
        // Only an answer of the server is a result: after any other error the connection must not be used again.
        let read = async |conn: Conn<'_>| match on_conn!(conn, |c| sqlx::query_as(STATE).fetch_one(c).await) {
            Ok(state) => Ok(Ok(state)),
            Err(sqlx::Error::Database(error)) => Ok(Err(error)),
            Err(error) => Err(error.into()),
        };
        let state: Result<State, Box<dyn DatabaseError>> = self.read_for(Purpose::Health, read).await?;
        let newest = match self {
            Self::Postgres(_) => POSTGRES_MIGRATIONS.iter().map(|migration| migration.version).max(),
            Self::Sqlite(_) => SQLITE_MIGRATIONS.iter().map(|migration| migration.version).max(),
        };
        match state {
            Ok((floor, _, _)) if floor > BINARY_VERSION => Ok(Schema::TooNew),
            Ok((_, _, Some(incomplete))) => Ok(Schema::Incomplete(incomplete)),
            Ok((_, applied, None)) if applied < newest => Ok(Schema::Outdated),
            Ok(_) => Ok(Schema::Ready),
            Err(error) if is_missing_table(error.as_ref()) => {
                Ok(self.conflicting_table().await?.map_or(Schema::Empty, Schema::Conflict))
            }
            Err(error) if error.code().as_deref() == Some("42501") => {
                const PLACE: &str = "select coalesce(current_schema(), 'public'), current_user::text";
                let read =
                    async |conn: Conn<'_>| Ok(on_conn!(conn, |c| sqlx::query_as(PLACE).fetch_one(c).await?));
                let (schema, user): (String, String) = self.read_for(Purpose::Health, read).await?;
                Err(StoreError::Unusable(missing_rights(error.message(), &schema, &user)))
            }
            Err(error) => Err(sqlx::Error::Database(error).into()),
        }
    }

    /// A table that a migration would create, in a database that no process begins to migrate.
    async fn conflicting_table(&self) -> Result<Option<String>, StoreError> {
        const POSTGRES: &str = "select relname::text from pg_class \
            where relnamespace = to_regnamespace(current_schema()) and relkind in ('r', 'p', 'v', 'm', 'f')";
        const SQLITE: &str = "select lower(name) from sqlite_master where type in ('table', 'view')";
        let migrations = match self {
            Self::Postgres(_) => &POSTGRES_MIGRATIONS,
            Self::Sqlite(_) => &SQLITE_MIGRATIONS,
        };
        let read = async |conn: Conn<'_>| {
            let tables = conn.pick(POSTGRES, SQLITE);
            Ok(on_conn!(conn, |c| sqlx::query_scalar(tables).fetch_all(c).await?))
        };
        let existing: Vec<String> = self.read_for(Purpose::Health, read).await?;
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
        let Self::Postgres(pools) = self else { return Ok(()) };
        let (may_create, schema, user): (bool, String, String) =
            sqlx::query_as(RIGHTS).fetch_one(pools.write.acquire().await?.conn()).await?;
        if may_create {
            return Ok(());
        }
        Err(StoreError::Unusable(format!(
            "the user {user} may not create tables in the schema {schema}; run as an administrator of the \
             database: GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}"
        )))
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
