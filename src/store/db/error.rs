//! Database errors, classified by how the caller reacts. Each text includes the message of the database once;
//! the error of sqlx is no `source`, because it would repeat that message.

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data does not fit (SQLSTATE class 21, 22, 23 or 54): the value that was written is at fault.
    #[error("the store refused the data: {}", driver_message(.0))]
    Data(sqlx::Error),
    /// The statement is at fault: the same statement fails again.
    #[error("the store refused a statement: {}", driver_message(.0))]
    Statement(sqlx::Error),
    /// Deadlock, serialization failure, time-out or a lost connection: the same statement may succeed later.
    #[error("the store is away: {}", driver_message(.0))]
    Unavailable(sqlx::Error),
    /// At the start: the database cannot be reached, or rejects the credentials.
    #[error("no connection to {address}: {}", driver_message(.error))]
    NoConnection {
        /// `host:port`.
        address: String,
        error: sqlx::Error,
    },
    /// The database did not answer in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The process stops and accepts no more writes.
    #[error("the writer has stopped")]
    Stopped,
    /// This version cannot read a row or a value in it.
    #[error("a row of the store could not be read: {}", driver_message(.0))]
    Unreadable(sqlx::Error),
    /// The database requires a newer version of this program, or cannot be migrated.
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// Whether the same operation may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut)
    }

    /// A stored value that cannot be parsed.
    pub fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable(sqlx::Error::Decode(Box::new(error)))
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sqlx may add kinds; an unknown error may be transient"
    )]
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => Self::Unreadable(error),
            // A value that cannot be bound now cannot be bound later.
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
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; none of them comes from a row")]
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Unusable(format!("the database could not be migrated: {other}")),
        }
    }
}

/// The message of the database, without the prefix of the driver.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx may add kinds; the texts of the others are complete"
)]
fn driver_message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        other => other.to_string(),
    }
}

fn is_data_error(error: &dyn sqlx::error::DatabaseError) -> bool {
    if error.is_unique_violation() || error.is_foreign_key_violation() || error.is_check_violation() {
        return true;
    }
    let Some(code) = error.code() else { return false };
    // SQLite's primary codes 18 to 20: too big, constraint, mismatch. PostgreSQL's classes 21 (one statement
    // writes a row twice), 22 and 23, and 54 (a value is too big for an index).
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite {
        return code.parse::<i64>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// Whether the SQL is invalid: PostgreSQL's class 42 except for missing privileges (42501), which the operator
/// can grant again; SQLite's code 1.
fn is_statement_error(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite { code == "1" } else { code.starts_with("42") && code != "42501" }
}

impl From<StoreError> for crate::domain::error::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::NoConnection { .. }
            | StoreError::TimedOut
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
