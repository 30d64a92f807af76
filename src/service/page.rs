//! Pages of lists.

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
    /// Makes a page of rows that were read with [`fetch_limit`].
    pub(super) fn from_rows(mut items: Vec<T>, limit: usize, cursor_of: impl Fn(&T) -> P) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(cursor_of);
        Self { items, next }
    }
}
