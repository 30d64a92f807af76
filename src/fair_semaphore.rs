//! A semaphore whose permits are shared by keys, such as workspaces: a free permit goes to the waiting key that uses the fewest, so that
//! no queue of one key delays another's.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;

/// What permits are shared by.
pub trait Key: Copy + Eq + Hash {}

impl<T: Copy + Eq + Hash> Key for T {}

/// The weight that may be in use, in the unit of the caller: a count, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// By all keys.
    pub total: usize,
    /// By one key. If it is less than `total`, a key that uses all it may leaves the rest to others even if their calls never end.
    pub per_key: usize,
}

impl Shares {
    /// Half of the total for one key.
    #[must_use]
    pub const fn half_of(total: usize) -> Self {
        Self { total, per_key: total / 2 }
    }
}

/// Permits that keys share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FairSemaphore<K: Key>(Arc<Mutex<State<K>>>);

/// A permit, which is free again when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct FairPermit<K: Key> {
    semaphore: FairSemaphore<K>,
    key: K,
    weight: usize,
}

#[derive(Debug)]
struct State<K: Key> {
    shares: Shares,
    in_use: usize,
    next_ticket: u64,
    /// The keys that use permits or wait for some. Others leave no memory behind.
    entries: HashMap<K, Entry<K>>,
    /// The keys whose first waiter fits into the share of its key: that which uses the least goes first, and among those that use as much,
    /// that which has gone without a permit the longest.
    ready: BTreeMap<Rank, K>,
}

/// The weight that a key uses, and its turn among the keys that use as much.
type Rank = (usize, u64);

#[derive(Debug)]
struct Entry<K: Key> {
    in_use: usize,
    /// A ticket from when the key began to wait, or from its last permit since. The ticket of its first waiter would let a key with a
    /// long queue, whose permit has just become free, go before all that came later.
    turn: u64,
    waiting: VecDeque<Waiting<K>>,
}

#[derive(Debug)]
struct Waiting<K: Key> {
    ticket: u64,
    weight: usize,
    sender: oneshot::Sender<FairPermit<K>>,
}

/// Leaves the queue when it is dropped.
struct QueuedCall<'a, K: Key> {
    semaphore: &'a FairSemaphore<K>,
    key: K,
    ticket: u64,
}

impl<K: Key> FairSemaphore<K> {
    /// All permits free. Both shares are at least one.
    #[must_use]
    pub fn new(Shares { total, per_key }: Shares) -> Self {
        let total = total.max(1);
        let shares = Shares { total, per_key: per_key.clamp(1, total) };
        let (entries, ready) = (HashMap::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(State { shares, in_use: 0, next_ticket: 0, entries, ready })))
    }

    /// Waits for a permit of this weight, which counts as the share of its key if it is more. The calls of one key are served in order.
    pub async fn acquire(&self, key: K, weight: usize) -> FairPermit<K> {
        loop {
            let (sender, mut receiver) = oneshot::channel();
            let ticket = self.lock().enqueue(key, weight, sender);
            // Declared after the channel, so that a dropped call leaves the queue before its channel closes.
            let _queued = QueuedCall { semaphore: self, key, ticket };
            self.grant();
            // Without awaiting, because an exhausted budget of the task would make even a permit that is there wait.
            if let Ok(permit) = receiver.try_recv() {
                return permit;
            }
            // A sender in the queue is dropped only after it has sent.
            if let Ok(permit) = (&mut receiver).await {
                return permit;
            }
        }
    }

    /// Like [`Self::acquire`], but for at most `timeout`; `None` after that time.
    pub async fn acquire_within(&self, key: K, weight: usize, timeout: Duration) -> Option<FairPermit<K>> {
        tokio::time::timeout(timeout, self.acquire(key, weight)).await.ok()
    }

    /// A permit of this weight, if it is free and nobody who goes first waits for it.
    #[must_use]
    pub fn try_acquire(&self, key: K, weight: usize) -> Option<FairPermit<K>> {
        self.acquire(key, weight).now_or_never()
    }

    /// The most weight that one key uses, and how much one may use.
    #[must_use]
    pub fn largest_key(&self) -> (usize, usize) {
        let state = self.lock();
        let largest = state.entries.values().map(|entry| entry.in_use).max().unwrap_or(0);
        (largest, state.shares.per_key)
    }

    /// Gives free permits to the calls that wait.
    fn grant(&self) {
        loop {
            let granted = self.lock().take_next();
            let Some((key, Waiting { weight, sender, .. })) = granted else { return };
            // If its call has gone, the permit is released here.
            drop(sender.send(FairPermit { semaphore: self.clone(), key, weight }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> State<K> {
    fn enqueue(&mut self, key: K, weight: usize, sender: oneshot::Sender<FairPermit<K>>) -> u64 {
        let ticket = self.ticket();
        let weight = weight.clamp(1, self.shares.per_key);
        self.update(key, |entry| {
            if entry.waiting.is_empty() {
                entry.turn = ticket;
            }
            entry.waiting.push_back(Waiting { ticket, weight, sender });
        });
        ticket
    }

    fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Removes the call that goes next, and counts its weight as used. If it is too heavy for what is free, no other overtakes it.
    fn take_next(&mut self) -> Option<(K, Waiting<K>)> {
        let key = *self.ready.first_key_value()?.1;
        let weight = self.entries.get(&key)?.waiting.front()?.weight;
        if weight > self.shares.total - self.in_use {
            return None;
        }
        self.in_use += weight;
        let turn = self.ticket();
        let next = self.update(key, |entry| {
            entry.in_use += weight;
            entry.turn = turn;
            entry.waiting.pop_front()
        });
        Some((key, next?))
    }

    fn release(&mut self, key: K, weight: usize) {
        self.in_use -= weight;
        self.update(key, |entry| entry.in_use -= weight);
    }

    /// Whether the call was still queued.
    fn remove(&mut self, key: K, ticket: u64) -> bool {
        self.update(key, |entry| {
            let index = entry.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket);
            index.is_ok_and(|index| entry.waiting.remove(index).is_some())
        })
    }

    /// Changes the entry of a key, and then its rank.
    fn update<T>(&mut self, key: K, change: impl FnOnce(&mut Entry<K>) -> T) -> T {
        let per_key = self.shares.per_key;
        let entry = self.entries.entry(key);
        let entry = entry.or_insert_with(|| Entry { in_use: 0, turn: 0, waiting: VecDeque::new() });
        if let Some(rank) = entry.rank(per_key) {
            self.ready.remove(&rank);
        }
        let result = change(entry);
        if let Some(rank) = entry.rank(per_key) {
            self.ready.insert(rank, key);
        } else if entry.in_use == 0 {
            self.entries.remove(&key);
        }
        result
    }
}

impl<K: Key> Entry<K> {
    /// `None` if nobody waits, or the first who does must wait for permits of its own key. If none is in use, the first always fits.
    fn rank(&self, per_key: usize) -> Option<Rank> {
        let first = self.waiting.front()?;
        (self.in_use + first.weight <= per_key).then_some((self.in_use, self.turn))
    }
}

impl<K: Key> Drop for FairPermit<K> {
    fn drop(&mut self) {
        self.semaphore.lock().release(self.key, self.weight);
        self.semaphore.grant();
    }
}

impl<K: Key> Drop for QueuedCall<'_, K> {
    fn drop(&mut self) {
        let has_left = self.semaphore.lock().remove(self.key, self.ticket);
        if has_left {
            // It may have been too heavy, and those behind it are not.
            self.semaphore.grant();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    type Call<'a> = Pin<Box<dyn Future<Output = FairPermit<u8>> + 'a>>;

    fn semaphore(total: usize, per_key: usize) -> FairSemaphore<u8> {
        FairSemaphore::new(Shares { total, per_key })
    }

    /// A call that waits.
    fn wait(semaphore: &FairSemaphore<u8>, key: u8, weight: usize) -> Call<'_> {
        let mut call: Call<'_> = Box::pin(semaphore.acquire(key, weight));
        assert!(call.as_mut().now_or_never().is_none());
        call
    }

    fn granted(call: &mut Call<'_>) -> Option<FairPermit<u8>> {
        call.as_mut().now_or_never()
    }

    #[test]
    fn a_key_uses_its_share_and_leaves_the_rest() {
        let semaphore = semaphore(4, 2);

        let first = semaphore.try_acquire(1, 1).unwrap();
        let _second = semaphore.try_acquire(1, 1).unwrap();
        assert!(semaphore.try_acquire(1, 1).is_none());
        assert_eq!(semaphore.largest_key(), (2, 2));
        let _of_others = [semaphore.try_acquire(2, 1).unwrap(), semaphore.try_acquire(3, 1).unwrap()];
        assert!(semaphore.try_acquire(4, 1).is_none(), "all are in use");

        drop(first);
        assert!(semaphore.try_acquire(4, 1).is_some());
    }

    #[test]
    fn a_newcomer_goes_before_a_thousand_calls_of_a_greedy_key() {
        let semaphore = semaphore(2, 2);
        let mut permits = vec![semaphore.try_acquire(1, 1).unwrap(), semaphore.try_acquire(1, 1).unwrap()];
        let mut greedy: Vec<_> = (0..1000).map(|_| wait(&semaphore, 1, 1)).collect();
        let mut honest = wait(&semaphore, 2, 1);

        permits.pop();

        assert!(greedy.iter_mut().all(|call| granted(call).is_none()));
        let _honest = granted(&mut honest).unwrap();
        permits.pop();
        assert!(granted(&mut greedy[0]).is_some(), "its calls are served in order");
    }

    #[test]
    fn keys_that_use_as_much_take_turns() {
        let semaphore = semaphore(2, 1);
        let permits = [semaphore.try_acquire(1, 1).unwrap(), semaphore.try_acquire(2, 1).unwrap()];
        let mut greedy: Vec<_> = (0..20).map(|number| wait(&semaphore, 1 + number % 2, 1)).collect();
        let mut honest = wait(&semaphore, 3, 1);

        drop(permits);
        let next: Vec<_> = greedy[..2].iter_mut().map(|call| granted(call).unwrap()).collect();
        assert!(granted(&mut honest).is_none(), "both came before it");
        drop(next);

        assert!(granted(&mut honest).is_some(), "18 calls that came before it still wait");
    }

    #[test]
    fn a_heavy_call_is_not_overtaken_by_keys_that_use_as_much() {
        let semaphore = semaphore(4, 4);
        let mut small: Vec<_> = (1..=4).map(|key| semaphore.try_acquire(key, 1).unwrap()).collect();
        let mut heavy = wait(&semaphore, 5, 3);
        let mut light = wait(&semaphore, 6, 1);

        small.truncate(2);
        assert!(granted(&mut heavy).is_none());
        assert!(granted(&mut light).is_none());
        small.truncate(1);
        let permit = granted(&mut heavy).unwrap();
        assert!(granted(&mut light).is_none());
        drop(permit);
        assert!(granted(&mut light).is_some());
    }

    #[test]
    fn a_call_that_leaves_lets_those_behind_it_go() {
        let semaphore = semaphore(4, 4);
        let _small = semaphore.try_acquire(1, 2).unwrap();
        let heavy = wait(&semaphore, 2, 4);
        let mut light = wait(&semaphore, 3, 1);

        drop(heavy);

        assert!(granted(&mut light).is_some());
    }

    #[test]
    fn a_permit_that_nobody_receives_is_free_again() {
        let semaphore = semaphore(1, 1);
        let permit = semaphore.try_acquire(1, 1).unwrap();
        let waiting = wait(&semaphore, 2, 1);

        drop(permit);
        assert!(semaphore.try_acquire(3, 1).is_none(), "it was given to the call that waited");
        drop(waiting);

        assert!(semaphore.try_acquire(3, 1).is_some());
    }

    #[test]
    fn a_call_heavier_than_its_share_waits_for_all_of_it() {
        let semaphore = semaphore(4, 2);
        let permit = semaphore.try_acquire(1, 100).unwrap();
        assert!(semaphore.try_acquire(1, 1).is_none());
        drop(permit);
        assert!(semaphore.try_acquire(1, 1).is_some());
    }

    #[tokio::test]
    async fn a_call_that_waits_for_too_long_gives_up_and_leaves_the_queue() {
        let semaphore = semaphore(1, 1);
        let permit = semaphore.acquire_within(1, 1, Duration::ZERO).await.unwrap();

        assert!(semaphore.acquire_within(2, 1, Duration::from_millis(10)).await.is_none());

        drop(permit);
        assert!(semaphore.try_acquire(3, 1).is_some());
        assert!(semaphore.lock().entries.is_empty());
    }

    /// Random calls, drops of calls and drops of permits.
    #[test]
    fn the_bounds_are_kept_and_nothing_stays_behind() {
        let semaphore = semaphore(10, 4);
        let mut random = StdRng::seed_from_u64(7);
        let (mut permits, mut calls): (Vec<FairPermit<u8>>, Vec<Call<'_>>) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let number = random.random_range(0..usize::MAX);
            match random.random_range(0..4) {
                0 | 1 if calls.len() < 50 => {
                    let (key, weight) = (random.random_range(0..6), random.random_range(1..6));
                    calls.push(Box::pin(semaphore.acquire(key, weight)));
                }
                2 if !calls.is_empty() => drop(calls.swap_remove(number % calls.len())),
                _ if !permits.is_empty() => drop(permits.swap_remove(number % permits.len())),
                _ => {}
            }
            calls.retain_mut(|call| granted(call).map(|permit| permits.push(permit)).is_none());

            let of_key = |key| permits.iter().filter(move |permit| permit.key == key);
            let by_key: Vec<usize> =
                (0..6).map(|key| of_key(key).map(|permit| permit.weight).sum()).collect();
            assert!(by_key.iter().all(|used| *used <= 4), "{by_key:?}");
            assert_eq!(semaphore.lock().in_use, by_key.iter().sum::<usize>());
            assert!(semaphore.lock().in_use <= 10);
        }
        drop((permits, calls));
        let state = semaphore.lock();
        assert_eq!((state.in_use, state.entries.len(), state.ready.len()), (0, 0, 0));
    }
}
