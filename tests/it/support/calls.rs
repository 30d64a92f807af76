//! The book that a fake keeps of its calls, with their beginnings and ends.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::watch;

use super::wait::within;

/// One call as the fake saw it.
#[derive(Clone, Debug)]
pub struct Call<R> {
    pub request: R,
    pub began: Instant,
    /// When the last byte of the answer was handed over, or the caller hung up; `None` while it is under way.
    pub ended: Option<Instant>,
}

impl<R> Call<R> {
    fn overlaps(&self, later: &Self) -> bool {
        self.ended.is_none_or(|ended| ended > later.began)
    }
}

/// All calls of one fake, in order of arrival. Clones share the book.
pub struct Calls<R> {
    entries: Arc<Mutex<Vec<Call<R>>>>,
    arrived: watch::Sender<usize>,
}

impl<R> Clone for Calls<R> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries), arrived: self.arrived.clone() }
    }
}

impl<R: Clone> Calls<R> {
    pub fn new() -> Self {
        Self { entries: Arc::default(), arrived: watch::Sender::new(0) }
    }

    /// Enters a call; it ends when what is returned is dropped.
    pub fn begin(&self, request: R) -> OpenCall<R> {
        let mut entries = self.lock();
        let index = entries.len();
        entries.push(Call { request, began: Instant::now(), ended: None });
        drop(entries);
        self.arrived.send_replace(index + 1);
        OpenCall { calls: self.clone(), index }
    }

    pub fn all(&self) -> Vec<Call<R>> {
        self.lock().clone()
    }

    /// Returns when `count` calls or more have arrived since the start, with all of them.
    pub async fn wait_for_count(&self, count: usize) -> Vec<Call<R>> {
        let mut arrived = self.arrived.subscribe();
        within(&format!("{count} calls"), arrived.wait_for(|arrivals| *arrivals >= count))
            .await
            .expect("the fake is alive");
        self.all()
    }

    /// Pairs of calls (their places in [`Self::all`]) of one key that were under way at once. Keyless calls are left out.
    pub fn overlaps<K: PartialEq>(&self, key: impl Fn(&R) -> Option<K>) -> Vec<(usize, usize)> {
        let entries = self.lock();
        let keyed: Vec<_> = entries
            .iter()
            .enumerate()
            .filter_map(|(at, call)| Some((at, key(&call.request)?, call)))
            .collect();
        let mut pairs = Vec::new();
        for (nth, (at, key, call)) in keyed.iter().enumerate() {
            for (later_at, later_key, later) in &keyed[nth + 1..] {
                if key == later_key && call.overlaps(later) {
                    pairs.push((*at, *later_at));
                }
            }
        }
        pairs
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call<R>>> {
        self.entries.lock().expect("no call panics while it writes the book")
    }
}

/// A call under way. It goes into the answer's body, so that it ends with the body's last byte.
pub struct OpenCall<R: Clone> {
    calls: Calls<R>,
    index: usize,
}

impl<R: Clone> OpenCall<R> {
    /// Its place in the book, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl<R: Clone> Drop for OpenCall<R> {
    fn drop(&mut self) {
        self.calls.lock()[self.index].ended = Some(Instant::now());
    }
}
