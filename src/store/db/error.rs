//! What can go wrong with a store, by what is to be done about it. What the database itself said is
//! part of each text, once: sqlx's own errors say it again as their source.

/// A failed statement or connection.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data does not fit (SQLSTATE class 22, 23 or 54): the fault of what was written.
    #[error("the store refused the data: {}", driver_message(.0))]
    Data(sqlx::Error),
    /// The statement itself is at fault: the same again would fail again.
    #[error("the store refused a statement: {}", driver_message(.0))]
    Statement(sqlx::Error),
    /// Deadlock, serialization, time-out or a lost connection: the same again may succeed.
    #[error("the store is away: {}", driver_message(.0))]
    Unavailable(sqlx::Error),
    /// At the start: the database cannot be reached, or does not let us in.
    #[error("no connection to {address}: {}", driver_message(.error))]
    NoConnection {
        /// `host:port`.
        address: String,
        error: sqlx::Error,
    },
    /// Nothing came back in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The process stops; nothing is written any more.
    #[error("the writer has stopped")]
    Stopped,
    /// A row that this version cannot read.
    #[error("a row of the store could not be read: {}", driver_message(.0))]
    Unreadable(sqlx::Error),
    /// The database says that this binary is too old for it, or cannot be prepared for it.
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// Whether the same again may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut)
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; what is not known may pass")]
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                Self::Unreadable(error)
            }
            // What cannot be bound would not be bound the next time either.
            sqlx::Error::Encode(_) => Self::Data(error),
            sqlx::Error::Database(database) if is_data_error(database.as_ref()) => Self::Data(error),
            sqlx::Error::Database(database) if is_statement_error(database.as_ref()) => {
                Self::Statement(error)
            }
            _ => Self::Unavailable(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; none of them is of our rows")]
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Unusable(format!("the database could not be migrated: {other}")),
        }
    }
}

/// What there is to say of an error, without the driver's own framing of it.
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add kinds; the others speak for themselves")]
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
    // SQLite's primary codes 18 to 20: too big, constraint, mismatch; PostgreSQL's classes 22 and 23, and 54:
    // a value that is too big for an index.
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite {
        return code.parse::<i64>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    ["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// A fault of ours, in SQL that was written or built wrong. PostgreSQL's class 42, but for missing
/// rights, which the operator may give back; SQLite's code 1.
fn is_statement_error(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    if is_sqlite { code == "1" } else { code.starts_with("42") && code != "42501" }
}

impl From<StoreError> for crate::domain::error::Error {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { outcome_unknown: false, source: Some(Box::new(error)) }
    }
}
