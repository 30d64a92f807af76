//! Statements over many rows. A statement reads its rows as the relation `new`, so that its text does not depend on their number
//! and its plan is made once: on PostgreSQL `new` is `unnest` over one array for each column, on SQLite a list of values whose
//! length is rounded up.

use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, PgHasArrayType, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Encode, FromRow, Postgres, Sqlite, Type};

use super::{Conn, StoreError, TableRow, Tx};
use crate::domain::ids::WorkspaceId;

type Encoded = Result<(), sqlx::error::BoxDynError>;

/// The columns of `new`, and how a row of type `T` is encoded. Declared by [`columns!`]. The first column is never null.
pub(crate) struct Columns<T> {
    pub names: &'static [&'static str],
    /// Encodes one array for each column.
    pub postgres: fn(&[&T], &mut PgArguments) -> Encoded,
    /// Encodes the values of one row.
    pub sqlite: fn(&T, &mut SqliteArguments) -> Encoded,
}

/// Declares [`Columns`]: the name and the value of each.
macro_rules! columns {
    (|$row:ident| { $($name:literal: $value:expr),+ $(,)? }) => {
        $crate::store::db::Columns {
            names: &[$($name),+],
            postgres: |rows, arguments| {
                $(sqlx::Arguments::add(arguments, rows.iter().copied().map(|$row| {
                    let _ = $row;
                    $value
                }).collect::<Vec<_>>())?;)+
                Ok(())
            },
            sqlite: |$row, arguments| {
                let _ = $row;
                $(sqlx::Arguments::add(arguments, $value)?;)+
                Ok(())
            },
        }
    };
}
pub(crate) use columns;

/// The columns `key_workspace` and `key_id`.
pub(crate) const fn key_columns<T>() -> Columns<(WorkspaceId, T)>
where
    T: Copy
        + for<'q> Encode<'q, Postgres>
        + Type<Postgres>
        + PgHasArrayType
        + for<'q> Encode<'q, Sqlite>
        + Type<Sqlite>,
{
    columns!(|key| { "key_workspace": key.0, "key_id": key.1 })
}

/// The lengths of the lists of values on SQLite. Rows of nulls fill a list, so a statement has only this many texts.
const SQLITE_LENGTHS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const MAX_SQLITE_LENGTH: usize = 256;

enum Arguments {
    Postgres(PgArguments),
    Sqlite(SqliteArguments),
}

/// Statements over rows that are sent to the database together, in one round trip. On PostgreSQL they read the same snapshot and
/// run in no defined order, so no two may write the same row.
pub struct Statements {
    texts: Vec<String>,
    parameters: usize,
    arguments: Arguments,
}

impl Statements {
    pub(crate) fn new(conn: &Conn<'_>) -> Self {
        let arguments = match conn {
            Conn::Postgres(_) => Arguments::Postgres(PgArguments::default()),
            Conn::Sqlite(_) => Arguments::Sqlite(SqliteArguments::default()),
        };
        Self { texts: Vec::new(), parameters: 0, arguments }
    }

    /// Adds a statement over these rows, unless there are none.
    pub(crate) fn add<'a, T: 'a>(
        &mut self,
        columns: &Columns<T>,
        rows: impl IntoIterator<Item = &'a T>,
        statement: &str,
    ) -> Result<(), StoreError> {
        let rows: Vec<&T> = rows.into_iter().collect();
        let max_length = match self.arguments {
            Arguments::Postgres(_) => usize::MAX,
            Arguments::Sqlite(_) => MAX_SQLITE_LENGTH,
        };
        for rows in rows.chunks(max_length) {
            self.add_chunk(columns, rows, statement).map_err(sqlx::Error::Encode)?;
        }
        Ok(())
    }

    /// Adds an insert of these rows, unless there are none. `on_conflict` is the end of the statement.
    pub(crate) fn insert<'a, T: TableRow + 'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a T>,
        on_conflict: &str,
    ) -> Result<(), StoreError> {
        // `where true` keeps SQLite from reading `on conflict` as a join.
        let (table, names) = (T::TABLE, T::COLUMNS.names.join(", "));
        let statement = format!("insert into {table} ({names}) select * from new where true{on_conflict}");
        self.add(&T::COLUMNS, rows, &statement)
    }

    fn add_chunk<T>(&mut self, columns: &Columns<T>, rows: &[&T], statement: &str) -> Encoded {
        let mut text = format!("with new ({}) as (select * from ", columns.names.join(", "));
        match &mut self.arguments {
            Arguments::Postgres(arguments) => {
                (columns.postgres)(rows, arguments)?;
                for (nth, _) in columns.names.iter().enumerate() {
                    let _ = write!(
                        text,
                        "{} ${}",
                        if nth == 0 { "unnest(" } else { "," },
                        self.parameters + nth + 1
                    );
                }
                self.parameters += columns.names.len();
                text.push(')');
            }
            Arguments::Sqlite(arguments) => {
                let length = SQLITE_LENGTHS.into_iter().find(|length| *length >= rows.len());
                let length = length.unwrap_or(MAX_SQLITE_LENGTH);
                for row in rows {
                    (columns.sqlite)(row, arguments)?;
                }
                for _ in 0..(length - rows.len()) * columns.names.len() {
                    sqlx::Arguments::add(arguments, None::<i64>)?;
                }
                let row = format!("({})", vec!["?"; columns.names.len()].join(","));
                let _ = write!(text, "(values {}) where column1 is not null", vec![row; length].join(","));
            }
        }
        text.push_str(") ");
        text.push_str(statement);
        self.texts.push(text);
        Ok(())
    }

    /// Executes the statements that were added, if any. Returns how many rows a single one changed.
    pub(crate) async fn execute(self, conn: Conn<'_>) -> Result<u64, StoreError> {
        if self.texts.is_empty() {
            return Ok(0);
        }
        match (conn, self.arguments) {
            (Conn::Postgres(c), Arguments::Postgres(arguments)) => {
                let text = combine_for_postgres(self.texts);
                Ok(sqlx::query_with(AssertSqlSafe(text), arguments).execute(c).await?.rows_affected())
            }
            (Conn::Sqlite(c), Arguments::Sqlite(arguments)) => {
                let text = self.texts.join("; ");
                Ok(sqlx::query_with(AssertSqlSafe(text), arguments).execute(c).await?.rows_affected())
            }
            (Conn::Postgres(_), Arguments::Sqlite(_)) | (Conn::Sqlite(_), Arguments::Postgres(_)) => {
                Err(StoreError::Unusable("statements for another database".to_owned()))
            }
        }
    }

    /// Executes the statements that were added, and commits. `on_commit` runs before the commit is sent, which on SQLite is
    /// together with the statements: a call of its own would wake two threads.
    ///
    /// # Errors
    ///
    /// Once `on_commit` has run, the outcome is unknown.
    pub(crate) async fn execute_and_commit(
        mut self,
        mut tx: Tx,
        on_commit: impl FnOnce(),
    ) -> Result<(), StoreError> {
        match tx {
            Tx::Postgres(_) => {
                self.execute(tx.conn()).await?;
                on_commit();
                tx.commit().await
            }
            Tx::Sqlite(_) => {
                on_commit();
                self.texts.push("commit".to_owned());
                self.execute(tx.conn()).await?;
                tx.set_committed();
                Ok(())
            }
        }
    }

    async fn fetch<R>(self, conn: Conn<'_>) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        if self.texts.is_empty() {
            return Ok(Vec::new());
        }
        match (conn, self.arguments) {
            (Conn::Postgres(c), Arguments::Postgres(arguments)) => {
                let text = self.texts.concat();
                Ok(sqlx::query_as_with(AssertSqlSafe(text), arguments).fetch_all(c).await?)
            }
            (Conn::Sqlite(c), Arguments::Sqlite(arguments)) => {
                let text = self.texts.join("; ");
                Ok(sqlx::query_as_with(AssertSqlSafe(text), arguments).fetch_all(c).await?)
            }
            (Conn::Postgres(_), Arguments::Sqlite(_)) | (Conn::Sqlite(_), Arguments::Postgres(_)) => {
                Err(StoreError::Unusable("statements for another database".to_owned()))
            }
        }
    }
}

/// Several statements become data-modifying common table expressions of one.
fn combine_for_postgres(mut texts: Vec<String>) -> String {
    if texts.len() == 1 {
        return texts.remove(0);
    }
    let parts: Vec<_> =
        texts.iter().enumerate().map(|(nth, text)| format!("part{nth} as ({text})")).collect();
    format!("with {} select", parts.join(", "))
}

/// Runs a statement over rows and returns how many rows it changed.
pub(crate) async fn execute<'a, T: 'a>(
    conn: Conn<'_>,
    columns: &Columns<T>,
    rows: impl IntoIterator<Item = &'a T>,
    statement: &str,
) -> Result<u64, StoreError> {
    let mut statements = Statements::new(&conn);
    statements.add(columns, rows, statement)?;
    statements.execute(conn).await
}

/// Runs a query over rows. On SQLite an order applies to each 256 rows.
pub(crate) async fn fetch<'a, T: 'a, R>(
    conn: Conn<'_>,
    columns: &Columns<T>,
    rows: impl IntoIterator<Item = &'a T>,
    statement: &str,
) -> Result<Vec<R>, StoreError>
where
    R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let mut statements = Statements::new(&conn);
    statements.add(columns, rows, statement)?;
    statements.fetch(conn).await
}

/// Inserts rows and returns how many were written. `on_conflict` is the end of the statement.
pub(crate) async fn insert_rows<'a, T: TableRow + 'a>(
    conn: Conn<'_>,
    rows: impl IntoIterator<Item = &'a T>,
    on_conflict: &str,
) -> Result<u64, StoreError> {
    let mut statements = Statements::new(&conn);
    statements.insert(rows, on_conflict)?;
    statements.execute(conn).await
}
