//! Pages of lists.

use crate::domain::error::Error;
use crate::store::{Conn, Db, PageRows, ReadLimit, StoreError, Tenant};

/// The most bytes that a page of an API reads of columns that may be large, unless its first row has more.
const PAGE_BYTES: i64 = 1 << 20;

/// A page; `next` is the cursor of its last item if more items follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P> {
    pub items: Vec<T>,
    pub next: Option<P>,
}

/// How many rows to read: one more than the page shows, to detect whether more follow.
pub(super) fn fetch_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The limit of a page with at most so many rows.
pub(super) fn read_limit(rows: usize) -> ReadLimit {
    ReadLimit { rows: i64::try_from(rows).unwrap_or(i64::MAX), bytes: PAGE_BYTES }
}

impl<T, P> Page<T, P> {
    /// Reads a page of at most `limit` items, which are small. `read` gets the number of rows to read.
    pub(super) async fn read(
        db: &Db,
        tenant: impl Into<Tenant>,
        limit: usize,
        read: impl AsyncFnOnce(Conn<'_>, i64) -> Result<Vec<T>, StoreError>,
        position: impl Fn(&T) -> P,
    ) -> Result<Self, Error> {
        let rows = fetch_limit(limit);
        let mut items = db.read(tenant, async |conn| read(conn, rows).await).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        Ok(Self::new(PageRows { rows: items, has_more }, position))
    }

    /// Reads a page of at most `limit` items, or fewer if they are large.
    pub(super) async fn read_within_bytes(
        db: &Db,
        tenant: impl Into<Tenant>,
        limit: usize,
        read: impl AsyncFnOnce(Conn<'_>, ReadLimit) -> Result<PageRows<T>, StoreError>,
        position: impl Fn(&T) -> P,
    ) -> Result<Self, Error> {
        let limit = read_limit(limit);
        let rows = db.read(tenant, async |conn| read(conn, limit).await).await?;
        Ok(Self::new(rows, position))
    }

    fn new(PageRows { rows, has_more }: PageRows<T>, position: impl Fn(&T) -> P) -> Self {
        let next = rows.last().filter(|_| has_more).map(position);
        Self { items: rows, next }
    }
}
