//! Group commit: while one batch is being committed, the next items gather in a queue, and are then committed together. Workspaces
//! take turns in a batch; the items of each are committed in order.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::WorkspaceId;
use crate::lifecycle::panic_text;

/// An item of a [`GroupQueue`].
pub trait QueueItem: Send + 'static {
    /// The workspace whose items it follows.
    fn workspace(&self) -> WorkspaceId;

    /// The approximate size in memory.
    fn bytes(&self) -> usize;
}

/// Bounds by count and by size. The last item may exceed the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    pub items: usize,
    pub bytes: usize,
}

impl QueueLimits {
    fn are_reached(self, items: usize, bytes: usize) -> bool {
        items >= self.items || bytes >= self.bytes
    }
}

/// Commits the batches of a queue.
pub trait Commit<T>: Send {
    /// Commits a batch and returns the items to put back at the head of the queue, in order. If it panics, the batch is dropped, and
    /// the next one follows.
    fn commit(&mut self, batch: Vec<T>) -> impl Future<Output = Vec<T>> + Send;
}

/// A queue with many producers and one consumer. Cheap to clone.
#[derive(Debug)]
pub struct GroupQueue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    added: Notify,
}

#[derive(Debug)]
struct State<T> {
    /// The workspaces with items.
    by_workspace: HashMap<WorkspaceId, WorkspaceItems<T>>,
    /// The same workspaces; the first has the next turn.
    order: VecDeque<WorkspaceId>,
    len: usize,
    bytes: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct WorkspaceItems<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> Clone for GroupQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Default for GroupQueue<T> {
    fn default() -> Self {
        let (by_workspace, order) = (HashMap::new(), VecDeque::new());
        let state = Mutex::new(State { by_workspace, order, len: 0, bytes: 0, is_closed: false });
        Self { shared: Arc::new(Shared { state, added: Notify::new() }) }
    }
}

impl<T: QueueItem> GroupQueue<T> {
    /// Appends an item. It is dropped if the consumer has ended.
    pub fn push(&self, item: T) {
        let mut state = self.lock();
        if !state.is_closed {
            state.push_back(item);
            self.shared.added.notify_one();
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().len == 0
    }

    /// Whether the queue has reached one of the limits `all`, or the items of a workspace one of the limits `share`.
    #[must_use]
    pub fn is_full(&self, workspace: WorkspaceId, all: QueueLimits, share: QueueLimits) -> bool {
        let state = self.lock();
        let queued = state.by_workspace.get(&workspace);
        all.are_reached(state.len, state.bytes)
            || queued.is_some_and(|queued| share.are_reached(queued.items.len(), queued.bytes))
    }

    /// Commits batches within `limits` until `stop`, and then the items that are still queued.
    ///
    /// The queue is closed when the future ends or is dropped, even before it was polled.
    pub fn run(
        self,
        limits: QueueLimits,
        committer: impl Commit<T>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> {
        let queue = CloseOnDrop(self);
        async move { queue.0.consume(limits, committer, stop).await }
    }

    async fn consume(&self, limits: QueueLimits, mut committer: impl Commit<T>, stop: CancellationToken) {
        loop {
            let batch = self.next_batch(limits);
            if !batch.is_empty() {
                let outcome = AssertUnwindSafe(committer.commit(batch)).catch_unwind().await;
                self.requeue(outcome.unwrap_or_else(|panic| {
                    tracing::error!(
                        "a batch was dropped, because its commit panicked: {}",
                        panic_text(&*panic)
                    );
                    Vec::new()
                }));
            } else if stop.is_cancelled() {
                return;
            } else {
                tokio::select! {
                    () = self.shared.added.notified() => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    fn next_batch(&self, limits: QueueLimits) -> Vec<T> {
        let mut state = self.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while !limits.are_reached(batch.len(), bytes) {
            let Some(item) = state.pop_front() else { break };
            bytes += item.bytes();
            batch.push(item);
        }
        batch
    }

    fn requeue(&self, items: Vec<T>) {
        let mut state = self.lock();
        for item in items.into_iter().rev() {
            state.push_front(item);
        }
    }
}

impl<T: QueueItem> State<T> {
    fn push_back(&mut self, item: T) {
        let workspace = item.workspace();
        if self.entry(&item).push_back(item) {
            self.order.push_back(workspace);
        }
    }

    /// Puts an item back before the others of its workspace, which has the next turn if it has no others.
    fn push_front(&mut self, item: T) {
        let workspace = item.workspace();
        if self.entry(&item).push_front(item) {
            self.order.push_front(workspace);
        }
    }

    /// Counts an item, and returns the items of its workspace.
    fn entry(&mut self, item: &T) -> &mut WorkspaceItems<T> {
        self.len += 1;
        self.bytes += item.bytes();
        let entry = self.by_workspace.entry(item.workspace());
        entry.or_insert_with(|| WorkspaceItems { items: VecDeque::new(), bytes: 0 })
    }

    /// The first item of the workspace that has the next turn.
    fn pop_front(&mut self) -> Option<T> {
        let workspace = self.order.pop_front()?;
        let queued = self.by_workspace.get_mut(&workspace)?;
        let item = queued.items.pop_front()?;
        queued.bytes -= item.bytes();
        if queued.items.is_empty() {
            self.by_workspace.remove(&workspace);
        } else {
            self.order.push_back(workspace);
        }
        self.len -= 1;
        self.bytes -= item.bytes();
        Some(item)
    }
}

impl<T: QueueItem> WorkspaceItems<T> {
    /// Whether it is the only one.
    fn push_back(&mut self, item: T) -> bool {
        self.bytes += item.bytes();
        self.items.push_back(item);
        self.items.len() == 1
    }

    /// Whether it is the only one.
    fn push_front(&mut self, item: T) -> bool {
        self.bytes += item.bytes();
        self.items.push_front(item);
        self.items.len() == 1
    }
}

impl<T> GroupQueue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when its consumer ends in any way, so that no producer waits for an item that nobody commits.
struct CloseOnDrop<T>(GroupQueue<T>);

impl<T> Drop for CloseOnDrop<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let items = std::mem::take(&mut state.by_workspace);
        state.order.clear();
        (state.len, state.bytes) = (0, 0);
        drop(state);
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    const LIMITS: QueueLimits = QueueLimits { items: 3, bytes: 10 };

    /// An item of this size, of a workspace.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Item(usize, u128);

    impl QueueItem for Item {
        fn workspace(&self) -> WorkspaceId {
            workspace(self.1)
        }

        fn bytes(&self) -> usize {
            self.0
        }
    }

    fn workspace(number: u128) -> WorkspaceId {
        WorkspaceId(Uuid::from_u128(number))
    }

    /// Items of one workspace.
    fn queue(items: impl IntoIterator<Item = usize>) -> GroupQueue<Item> {
        let queue = GroupQueue::default();
        items.into_iter().for_each(|bytes| queue.push(Item(bytes, 1)));
        queue
    }

    fn is_full(queue: &GroupQueue<Item>) -> bool {
        let limits = QueueLimits { items: 100, bytes: 100 };
        queue.is_full(workspace(1), LIMITS, limits)
    }

    /// Records the batches, and returns the last item of each of the first `put_backs` batches.
    struct Recorder {
        batches: Vec<Vec<usize>>,
        put_backs: usize,
    }

    impl Commit<Item> for &mut Recorder {
        async fn commit(&mut self, batch: Vec<Item>) -> Vec<Item> {
            self.batches.push(batch.iter().map(|item| item.0).collect());
            let is_put_back = self.batches.len() <= self.put_backs;
            batch.into_iter().rev().take(usize::from(is_put_back)).collect()
        }
    }

    /// Runs a stopped queue to its end.
    fn run(queue: GroupQueue<Item>, put_backs: usize) -> Vec<Vec<usize>> {
        let mut recorder = Recorder { batches: Vec::new(), put_backs };
        let stop = CancellationToken::new();
        stop.cancel();
        queue.run(LIMITS, &mut recorder, stop).now_or_never().unwrap();
        recorder.batches
    }

    #[test]
    fn batches_are_bounded_by_count_and_by_bytes() {
        let batches = run(queue([1, 1, 1, 1, 9, 1, 20, 2]), 0);

        assert_eq!(batches, [vec![1, 1, 1], vec![1, 9], vec![1, 20], vec![2]]);
    }

    #[test]
    fn items_that_are_put_back_come_first() {
        let batches = run(queue([1, 2, 3, 4]), 2);

        assert_eq!(batches, [vec![1, 2, 3], vec![3, 4], vec![4]]);
    }

    #[test]
    fn workspaces_take_turns_in_a_batch_and_keep_their_own_order() {
        let queue = GroupQueue::default();
        for item in [Item(1, 1), Item(2, 1), Item(3, 1), Item(4, 1), Item(5, 2), Item(6, 2), Item(7, 3)] {
            queue.push(item);
        }

        let first = queue.next_batch(QueueLimits { items: 3, bytes: 100 });
        assert_eq!(first, [Item(1, 1), Item(5, 2), Item(7, 3)]);
        queue.requeue(first);

        let all = queue.next_batch(QueueLimits { items: 100, bytes: 100 });
        let of = |number| all.iter().filter(move |item| item.1 == number).map(|item| item.0);
        assert_eq!(of(1).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(of(2).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(all[..3].iter().map(|item| item.1).collect::<HashSet<_>>().len(), 3, "{all:?}");
        assert!(queue.is_empty());
        assert!(queue.lock().by_workspace.is_empty() && queue.lock().order.is_empty());
    }

    #[test]
    fn a_workspace_that_reaches_its_share_is_the_only_one_that_is_refused() {
        let (all, share) = (QueueLimits { items: 10, bytes: 1000 }, QueueLimits { items: 3, bytes: 100 });
        let queue = queue([1, 1]);
        let is_full = |number| queue.is_full(workspace(number), all, share);
        assert!(!is_full(1));

        queue.push(Item(1, 1));
        queue.push(Item(100, 2));

        assert_eq!([is_full(1), is_full(2), is_full(3)], [true, true, false]);
        let batch = queue.next_batch(QueueLimits { items: 1, bytes: 100 });
        assert!(!is_full(1), "a batch has taken one");
        queue.requeue(batch);
        assert!(is_full(1));
    }

    /// Panics at batches that begin with this item, and records the others.
    struct Fragile<'a>(usize, &'a mut Recorder);

    impl Commit<Item> for Fragile<'_> {
        async fn commit(&mut self, batch: Vec<Item>) -> Vec<Item> {
            assert_ne!(batch[0].0, self.0, "on purpose");
            self.1.commit(batch).await
        }
    }

    #[test]
    fn a_batch_whose_commit_panics_is_dropped_and_the_next_one_follows() {
        let mut recorder = Recorder { batches: Vec::new(), put_backs: 0 };
        let stop = CancellationToken::new();
        stop.cancel();

        let committing = queue([9, 1, 2, 3]).run(LIMITS, Fragile(9, &mut recorder), stop);
        committing.now_or_never().unwrap();

        assert_eq!(recorder.batches, [[2, 3]]);
    }

    #[test]
    fn a_full_queue_has_room_again_after_a_batch() {
        let queue = queue([5]);
        assert!(!is_full(&queue));
        queue.push(Item(5, 1));
        assert!(is_full(&queue), "by bytes");

        let batch = queue.next_batch(QueueLimits { items: 1, bytes: 10 });
        assert!(!is_full(&queue));
        queue.requeue(batch);
        assert!(is_full(&queue));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn two_producers_share_a_queue_and_its_end_drops_their_items() {
        let first = queue([1]);
        let second = first.clone();
        second.push(Item(2, 1));

        assert_eq!(run(first, 0), [[1, 2]]);
        second.push(Item(3, 1));
        assert!(second.is_empty());
    }

    #[test]
    fn the_consumer_waits_for_items_until_it_is_stopped() {
        let queue = queue([]);
        let producer = queue.clone();
        let mut recorder = Recorder { batches: Vec::new(), put_backs: 0 };
        let stop = CancellationToken::new();
        let mut running = Box::pin(queue.run(LIMITS, &mut recorder, stop.clone()));

        assert!(running.as_mut().now_or_never().is_none());
        producer.push(Item(1, 1));
        assert!(running.as_mut().now_or_never().is_none());
        assert!(producer.is_empty(), "it was committed");
        stop.cancel();
        assert!(running.as_mut().now_or_never().is_some());
        drop(running);
        assert_eq!(recorder.batches, [[1]]);
    }
}
