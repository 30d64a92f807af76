//! A connection of either database, and the macro that compiles one body for both.

use sqlx::{PgConnection, SqliteConnection};

/// A borrowed connection, inside or outside a transaction.
#[derive(Debug)]
pub enum Conn<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

impl Conn<'_> {
    /// Borrows the connection again, to run several statements.
    pub fn reborrow(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn),
            Self::Sqlite(conn) => Conn::Sqlite(conn),
        }
    }

    /// Picks the text for this database where the dialects differ.
    #[must_use]
    pub fn pick(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self {
            Self::Postgres(_) => postgres,
            Self::Sqlite(_) => sqlite,
        }
    }

    /// The suffix that makes a `select` lock its rows, without blocking foreign key checks. Empty on SQLite, where a
    /// transaction locks the whole database.
    #[must_use]
    pub fn row_lock(&self) -> &'static str {
        self.pick(" for no key update", "")
    }
}

/// Runs a body on a connection of either database. The body is compiled once for each.
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Postgres($c) => $body,
            $crate::store::Conn::Sqlite($c) => $body,
        }
    };
}
pub(crate) use on_conn;
