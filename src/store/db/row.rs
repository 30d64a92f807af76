//! The mapping between types and rows, declared once for each aggregate and used on both databases.

use super::Columns;

/// A type that is inserted as one row of a table.
pub(crate) trait TableRow: Sized {
    const TABLE: &'static str;
    const COLUMNS: Columns<Self>;
}

/// Declares how a type is inserted: its table and the value of each column. A name before the row is that of the macro that
/// expands to the column list, for types that are also read.
macro_rules! insert_row {
    ($type:ty, $table:literal, |$row:ident| { $($column:literal: $value:expr),+ $(,)? }) => {
        impl $crate::store::db::TableRow for $type {
            const TABLE: &'static str = $table;
            const COLUMNS: $crate::store::db::Columns<Self> =
                $crate::store::db::columns!(|$row| { $($column: $value),+ });
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

        $crate::store::db::insert_row!($type, $table, |$row| { $first: $first_value $(, $column: $value)* });
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
