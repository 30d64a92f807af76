//! A connection of either database, and the macro that runs one body on whichever it is.

use sqlx::{PgConnection, SqliteConnection};

/// A borrowed connection, in a transaction or not.
#[derive(Debug)]
pub enum Conn<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

impl Conn<'_> {
    /// The same connection again, for a function of several statements.
    pub fn reborrow(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn),
            Self::Sqlite(conn) => Conn::Sqlite(conn),
        }
    }

    /// The text for this database, where the dialects differ.
    #[must_use]
    pub fn pick(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self {
            Self::Postgres(_) => postgres,
            Self::Sqlite(_) => sqlite,
        }
    }

    /// Locks the rows that a select reads, against all but foreign keys; SQLite's
    /// transactions have the whole database already.
    #[must_use]
    pub fn row_lock(&self) -> &'static str {
        self.pick(" for no key update", "")
    }
}

/// How many values one statement may bind: SQLite's bound, below PostgreSQL's 65,535.
const MAX_BIND_VALUES: usize = 32_766;

/// Rows in portions that one statement may write, or look for, at `columns` values a row.
pub(crate) fn bind_chunks<T>(rows: &[T], columns: usize) -> std::slice::Chunks<'_, T> {
    rows.chunks((MAX_BIND_VALUES / columns).max(1))
}

/// Runs one body on whichever database the connection is of; it is compiled once for each.
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Postgres($c) => $body,
            $crate::store::Conn::Sqlite($c) => $body,
        }
    };
}
pub(crate) use on_conn;
