//! The log of a fake's calls, with their beginnings and ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::watch;

use super::wait::within;

/// One call.
#[derive(Clone, Debug)]
pub struct Call<R> {
    pub request: R,
    pub began: Instant,
    /// When the last byte of the answer was sent, or the caller disconnected; `None` for a call in flight.
    pub ended: Option<Instant>,
}

impl<R> Call<R> {
    fn overlaps(&self, later: &Self) -> bool {
        self.ended.is_none_or(|ended| ended > later.began)
    }
}

/// All calls of one fake, in order of arrival. Clones share one log.
pub struct Calls<R> {
    entries: Arc<Mutex<Vec<Call<R>>>>,
    arrived: watch::Sender<usize>,
    is_off: Arc<AtomicBool>,
}

impl<R> Clone for Calls<R> {
    fn clone(&self) -> Self {
        let (entries, is_off) = (Arc::clone(&self.entries), Arc::clone(&self.is_off));
        Self { entries, arrived: self.arrived.clone(), is_off }
    }
}

impl<R: Clone> Calls<R> {
    pub fn new() -> Self {
        Self { entries: Arc::default(), arrived: watch::Sender::new(0), is_off: Arc::default() }
    }

    /// From now on calls are only counted, for a load that goes on for hours.
    pub fn stop_recording(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Records a call, which ends when the returned value is dropped.
    pub fn begin(&self, request: R) -> OpenCall<R> {
        let mut entries = self.lock();
        let index = *self.arrived.borrow();
        if !self.is_off.load(Ordering::Relaxed) {
            entries.push(Call { request, began: Instant::now(), ended: None });
        }
        // Before the lock is released, so that each call has its own index.
        self.arrived.send_replace(index + 1);
        drop(entries);
        OpenCall { calls: self.clone(), index }
    }

    pub fn all(&self) -> Vec<Call<R>> {
        self.lock().clone()
    }

    /// Waits until at least `count` calls have arrived since the start, and returns all of them.
    pub async fn wait_for_count(&self, count: usize) -> Vec<Call<R>> {
        let mut arrived = self.arrived.subscribe();
        within(&format!("{count} calls"), arrived.wait_for(|arrivals| *arrivals >= count))
            .await
            .expect("the fake is alive");
        self.all()
    }

    /// Pairs of calls (their indices in [`Self::all`]) of the same key that were in flight at once. Calls without a key are ignored.
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
        self.entries.lock().expect("no thread panicked with the lock")
    }
}

/// A call in flight. It is moved into the answer's body, so that it ends with the body's last byte.
pub struct OpenCall<R: Clone> {
    calls: Calls<R>,
    index: usize,
}

impl<R: Clone> OpenCall<R> {
    /// Its number among all calls, which is its index in the log.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl<R: Clone> Drop for OpenCall<R> {
    fn drop(&mut self) {
        if let Some(call) = self.calls.lock().get_mut(self.index) {
            call.ended = Some(Instant::now());
        }
    }
}
