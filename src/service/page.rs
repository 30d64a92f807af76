//! A page of a list: its items, and where the next one begins.

/// A page; `next` is the place of its last item, where more follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P> {
    pub items: Vec<T>,
    pub next: Option<P>,
}

/// How many rows to ask the store for: one more than are shown says whether more follow.
pub(super) fn fetch_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl<T, P> Page<T, P> {
    /// Cuts what [`fetch_limit`] brought down to the page.
    pub(super) fn from_rows(mut items: Vec<T>, limit: usize, cursor_of: impl Fn(&T) -> P) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(cursor_of);
        Self { items, next }
    }
}
