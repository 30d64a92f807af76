//! Pages of lists.

use crate::domain::error::Error;
use crate::store::{Conn, Db, StoreError};

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

impl<T, P> Page<T, P> {
    /// Reads a page of at most `limit` items. `read` gets the number of rows to read.
    pub(super) async fn read(
        db: &Db,
        limit: usize,
        read: impl AsyncFnOnce(Conn<'_>, i64) -> Result<Vec<T>, StoreError>,
        position: impl Fn(&T) -> P,
    ) -> Result<Self, Error> {
        let rows = fetch_limit(limit);
        let mut items = db.read(async |conn| read(conn, rows).await).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(position);
        Ok(Self { items, next })
    }
}
