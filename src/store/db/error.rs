//! Database errors, classified by the reaction they call for. Each text includes the database's own message; the sqlx
//! error is not exposed as a source, because it would repeat that message.

use std::io;

use super::ConnectError;

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database rejected the data (SQLSTATE class 21, 22, 23 or 54).
    #[error("the database rejected the data: {}", driver_message(.0))]
    Data(sqlx::Error),
    /// The statement itself is wrong. A retry would fail again.
    #[error("the database rejected a statement: {}", driver_message(.0))]
    Statement(sqlx::Error),
    /// Deadlock, serialization failure, timeout or lost connection. A retry may succeed.
    #[error("the database is unavailable: {}", driver_message(.0))]
    Unavailable(sqlx::Error),
    /// At the start: the database is unreachable, or rejects our login.
    #[error(transparent)]
    NoConnection(Box<ConnectError>),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// The database returned rows from before something that has been committed.
    #[error("the database returned old rows: its server may be a standby, or no longer the primary")]
    Stale,
    /// The process is stopping and accepts no more writes.
    #[error("the writer has stopped")]
    Stopped,
    /// This version cannot read a row.
    #[error("a row of the database could not be read: {}", driver_message(.0))]
    Unreadable(sqlx::Error),
    /// This binary and the database do not fit together.
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// Returns true if a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut | Self::Stale)
    }

    /// A stored value that cannot be parsed.
    pub fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable(sqlx::Error::Decode(Box::new(error)))
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sqlx may add kinds; unknown errors count as transient"
    )]
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => Self::Unreadable(error),
            // A value that cannot be encoded now never can.
            sqlx::Error::Encode(_) => Self::Data(error),
            sqlx::Error::TypeNotFound { .. } | sqlx::Error::InvalidArgument(_) => Self::Statement(error),
            sqlx::Error::Database(database) if is_data_error(database.as_ref()) => Self::Data(error),
            sqlx::Error::Database(database) if is_statement_error(database.as_ref()) => {
                Self::Statement(error)
            }
            _ => Self::Unavailable(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; none concern our rows")]
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Unusable(format!("the database could not be migrated: {other}")),
        }
    }
}

/// The message of an error without the driver's prefix.
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; the others have no prefix")]
pub(super) fn driver_message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) if is_unprepared(error.as_ref()) => {
            format!("{}; {NO_PREPARED_STATEMENTS}", error.message())
        }
        sqlx::Error::Database(error) => error.message().to_owned(),
        error if is_closed(error) => {
            "the connection was closed by the server, or by a proxy that has no server up".to_owned()
        }
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        other => other.to_string(),
    }
}

const NO_PREPARED_STATEMENTS: &str = "the pooler in between does not keep prepared statements: use PgBouncer 1.21 or later \
    with `max_prepared_statements`, or its session mode";

/// The connection was closed by its other end.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are answers")]
pub(super) fn is_closed(error: &sqlx::Error) -> bool {
    use io::ErrorKind;

    match error {
        sqlx::Error::Io(error) => {
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            )
        }
        // The driver reads a zero if the connection ends before the answer to its request for TLS.
        sqlx::Error::Protocol(text) => text.contains("SSLRequest: 0x00"),
        _ => false,
    }
}

/// A prepared statement exists already (42P05) or does not (26000): a pooler sent the statement to another session.
fn is_unprepared(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code == "42P05" || code == "26000")
}

fn is_data_error(error: &dyn sqlx::error::DatabaseError) -> bool {
    if error.is_unique_violation() || error.is_foreign_key_violation() || error.is_check_violation() {
        return true;
    }
    let Some(code) = error.code() else { return false };
    // SQLite: primary codes 18 to 20 (too big, constraint, mismatch). PostgreSQL: classes 21 (one statement writes a
    // row twice), 22 and 23, and 54 for values that are too large for an index.
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite {
        return code.parse::<i64>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// Wrong SQL: PostgreSQL's class 42 except for what an operator may repair, missing privileges and a pooler that mixes up prepared
/// statements; SQLite's code 1.
fn is_statement_error(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite { code == "1" } else { code.starts_with("42") && code != "42501" && code != "42P05" }
}

/// The table of a statement does not exist: PostgreSQL's code 42P01, or SQLite's message.
pub(in crate::store) fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite {
        return error.message().starts_with("no such table");
    }
    error.code().is_some_and(|code| code == "42P01")
}

impl From<StoreError> for crate::domain::error::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::NoConnection(_)
            | StoreError::TimedOut
            | StoreError::Stale
            | StoreError::Stopped => {
                Self::Unavailable { outcome_unknown: false, source: Some(Box::new(error)) }
            }
            StoreError::Data(_)
            | StoreError::Statement(_)
            | StoreError::Unreadable(_)
            | StoreError::Unusable(_) => Self::internal(error),
        }
    }
}
