//! The mapping between types and rows, declared once for each aggregate and used on both databases.

use sqlx::query_builder::Separated;
use sqlx::{Database, Postgres, QueryBuilder, Sqlite};

use super::{Conn, StoreError, bind_chunks, on_conn};

/// A type that is inserted as one row of a table.
pub(crate) trait InsertRow<D: Database> {
    /// How many values a row has.
    const VALUES: usize;
    /// The statement up to `values`.
    const INSERT: &'static str;

    /// Binds the values in the order of the columns in [`Self::INSERT`].
    fn bind(&self, values: &mut Separated<'_, D, &'static str>);
}

impl<D: Database, T: InsertRow<D>> InsertRow<D> for &T {
    const VALUES: usize = T::VALUES;
    const INSERT: &'static str = T::INSERT;

    fn bind(&self, values: &mut Separated<'_, D, &'static str>) {
        T::bind(self, values);
    }
}

/// Inserts rows with as few statements as possible and returns how many rows were written.
/// `on_conflict` is the end of each statement.
pub(crate) async fn insert_rows<T>(
    mut conn: Conn<'_>,
    rows: &[T],
    on_conflict: &'static str,
) -> Result<u64, StoreError>
where
    T: InsertRow<Postgres> + InsertRow<Sqlite>,
{
    let mut written = 0;
    for rows in bind_chunks(rows, <T as InsertRow<Postgres>>::VALUES) {
        written += on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(<T as InsertRow<Postgres>>::INSERT);
            query.push_values(rows, |mut values, row| row.bind(&mut values));
            query.push(on_conflict).build().execute(c).await?.rows_affected()
        });
    }
    Ok(written)
}

/// Declares how a type is inserted: its table, a name for the macro that expands to the column list, and
/// the value of each column.
macro_rules! insert_row {
    (@impl $database:ty, $type:ty, $table:literal, $columns:ident, $row:ident, [$($column:literal),*], [$($value:expr),*]) => {
        impl $crate::store::db::InsertRow<$database> for $type {
            const VALUES: usize = [$($column),*].len();
            const INSERT: &'static str = concat!("insert into ", $table, " (", $columns!(), ") ");

            fn bind(&self, values: &mut sqlx::query_builder::Separated<'_, $database, &'static str>) {
                let $row = self;
                $(values.push_bind($value);)*
            }
        }
    };
    ($type:ty, $table:literal, $columns:ident, |$row:ident| {
        $first:literal: $first_value:expr $(, $column:literal: $value:expr)* $(,)?
    }) => {
        macro_rules! $columns {
            () => {
                concat!($first $(, ", ", $column)*)
            };
        }

        $crate::store::db::insert_row!(@impl sqlx::Postgres, $type, $table, $columns, $row, [$first $(, $column)*], [$first_value $(, $value)*]);
        $crate::store::db::insert_row!(@impl sqlx::Sqlite, $type, $table, $columns, $row, [$first $(, $column)*], [$first_value $(, $value)*]);
    };
}
pub(crate) use insert_row;

/// Declares how a type is decoded from a row.
macro_rules! from_row {
    ($type:ty, |$row:ident| $decode:expr) => {
        impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for $type {
            fn from_row($row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
                use sqlx::Row as _;
                Ok($decode)
            }
        }

        impl sqlx::FromRow<'_, sqlx::sqlite::SqliteRow> for $type {
            fn from_row($row: &sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
                use sqlx::Row as _;
                Ok($decode)
            }
        }
    };
}
pub(crate) use from_row;

/// Declares both for a type each of whose fields is one column.
macro_rules! map_row {
    ($type:ty, $table:literal, $columns:ident { $($field:ident: $column:literal),+ $(,)? }) => {
        $crate::store::db::insert_row!($type, $table, $columns, |row| { $($column: &row.$field),+ });
        $crate::store::db::from_row!($type, |row| Self { $($field: row.try_get($column)?),+ });
    };
}
pub(crate) use map_row;
