//! Pages within a number of rows and of bytes. A query of keys and sizes finds the rows that fit; the statement reads large columns
//! of these rows only.

/// The most that one read returns. It returns at least one row, of whatever size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    pub rows: i64,
    /// Of the columns that may be large.
    pub bytes: i64,
}

impl ReadLimit {
    /// How many keys a page is cut from: one more than it may have rows, to detect whether more follow.
    pub(crate) fn candidates(self) -> i64 {
        self.rows.saturating_add(1)
    }
}

/// The first rows of a list that fit into a [`ReadLimit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRows<T> {
    pub rows: Vec<T>,
    /// Whether the list goes on after them.
    pub has_more: bool,
}

/// A row of a page, with the number of rows from which the page was cut.
#[derive(sqlx::FromRow)]
pub(crate) struct PageRow<T> {
    #[sqlx(flatten)]
    row: T,
    candidates: i64,
}

impl<T> From<Vec<PageRow<T>>> for PageRows<T> {
    fn from(rows: Vec<PageRow<T>>) -> Self {
        let candidates = rows.first().map_or(0, |first| first.candidates);
        Self::cut(rows.into_iter().map(|row| row.row).collect(), candidates)
    }
}

impl<T> PageRows<T> {
    /// Rows that were cut from this many.
    pub(crate) fn cut(rows: Vec<T>, candidates: i64) -> Self {
        let has_more = i64::try_from(rows.len()).is_ok_and(|count| candidates > count);
        Self { rows, has_more }
    }
}

/// The relation `page`, to be joined with its table: the keys of the rows that fit, in columns whose names the table does not have,
/// and `candidates`. `keys` is a query of at most one row more than the limit, with the keys, and as `row_size` the size of the
/// large columns. `fits` is a condition on `nth`, the number of a row from 1, and `bytes`, the size of all rows up to it.
macro_rules! page_of {
    (keys: ($($keys:tt)+), order: ($($order:tt)+), fits: $fits:literal) => {
        concat!(
            $crate::store::db::page_start!(),
            $($keys)+,
            $crate::store::db::page_condition!($($order)+),
            $fits,
            $crate::store::db::page_end!()
        )
    };
}
pub(crate) use page_of;

/// The part of [`page_of!`] before `keys`, for statements that are built.
macro_rules! page_start {
    () => {
        "(select * from (select keyed.*, row_number() over in_order as nth, sum(row_size) over in_order as bytes, \
         count(*) over () as candidates from ("
    };
}
pub(crate) use page_start;

/// The part of [`page_of!`] between `keys` and `fits`.
macro_rules! page_condition {
    ($($order:tt)+) => {
        concat!(
            ") as keyed window in_order as (order by ",
            $($order)+,
            " rows unbounded preceding)) as sized where "
        )
    };
}
pub(crate) use page_condition;

/// The part of [`page_of!`] after `fits`.
macro_rules! page_end {
    () => {
        ") as page"
    };
}
pub(crate) use page_end;
