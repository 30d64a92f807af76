//! Who follows: places by workspace and by key, bounded in number.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::tail::{MOST, Tail};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{KeyId, WorkspaceId};
use crate::service::Services;
use crate::service::read_events::{EventPage, Reader, read};

/// When a place may be free again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How many followers may read for themselves at once, where they are behind the latest events: what
/// connections are left (`store.read_connections`) is for the doors.
const READING: usize = 3;

/// How many readers may follow at once in this process.
#[derive(Clone, Copy, Debug)]
pub struct FollowerBounds {
    /// `events.max_followers`.
    pub most: usize,
    /// `events.max_followers_per_workspace`.
    pub per_workspace: usize,
}

/// The readers that follow here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Followers {
    places: Arc<Mutex<Places>>,
    bounds: FollowerBounds,
    reading: Arc<Semaphore>,
    /// Cancelled when the process begins to stop.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Places {
    by_workspace: HashMap<WorkspaceId, Counted<Arc<Followed>>>,
    /// Cancelled once the key holds no more.
    by_key: HashMap<KeyId, Counted<CancellationToken>>,
    readers: usize,
}

#[derive(Debug, Default)]
struct Counted<T> {
    readers: usize,
    of: T,
}

/// A workspace that is followed: how far its feed is known to reach, and what came last.
#[derive(Debug, Default)]
struct Followed {
    head: watch::Sender<i64>,
    tail: tokio::sync::Mutex<Tail>,
}

/// One reader's place.
#[derive(Debug)]
pub(super) struct Place {
    followers: Followers,
    workspace: WorkspaceId,
    key: KeyId,
    followed: Arc<Followed>,
    head: watch::Receiver<i64>,
    key_ended: CancellationToken,
}

impl Followers {
    /// None yet. All of them end with `stop`.
    #[must_use]
    pub fn new(bounds: FollowerBounds, stop: CancellationToken) -> Self {
        Self { places: Arc::default(), bounds, reading: Arc::new(Semaphore::new(READING)), stop }
    }

    /// Waits until fewer than [`READING`] followers read for themselves; held while one does.
    pub(super) async fn turn_to_read(&self) -> Option<SemaphorePermit<'_>> {
        self.reading.acquire().await.ok()
    }

    pub(super) fn join(&self, account: &Account) -> Result<Place, Error> {
        let (workspace, key) = (account.workspace, account.key);
        let mut places = self.lock();
        let of_workspace = places.by_workspace.get(&workspace).map_or(0, |counted| counted.readers);
        if places.readers >= self.bounds.most || of_workspace >= self.bounds.per_workspace {
            let text = "Too many readers follow the events";
            return Err(Error::Overloaded { text, retry_after: TRY_AGAIN });
        }
        places.readers += 1;
        let followed = join(&mut places.by_workspace, workspace);
        let key_ended = join(&mut places.by_key, key);
        drop(places);
        let head = followed.head.subscribe();
        Ok(Place { followers: self.clone(), workspace, key, followed, head, key_ended })
    }

    /// Wakes a workspace's readers: its feed reaches to `head` at least.
    pub fn raise(&self, workspace: WorkspaceId, head: i64) {
        if let Some(counted) = self.lock().by_workspace.get(&workspace) {
            counted.of.head.send_if_modified(|known| {
                let is_news = head > *known;
                *known = head.max(*known);
                is_news
            });
        }
    }

    /// How many readers follow.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().readers
    }

    pub(super) fn workspaces(&self) -> Vec<WorkspaceId> {
        self.lock().by_workspace.keys().copied().collect()
    }

    pub(super) fn keys(&self) -> Vec<KeyId> {
        self.lock().by_key.keys().copied().collect()
    }

    /// Ends the readers of the keys that were `asked` for and are not `good`.
    pub(super) fn end_all_but(&self, asked: &[KeyId], good: &HashSet<KeyId>) {
        let places = self.lock();
        for key in asked.iter().filter(|key| !good.contains(key)) {
            if let Some(counted) = places.by_key.get(key) {
                counted.of.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join<K: Hash + Eq, T: Clone + Default>(places: &mut HashMap<K, Counted<T>>, key: K) -> T {
    let counted = places.entry(key).or_default();
    counted.readers += 1;
    counted.of.clone()
}

fn leave<K: Hash + Eq, T>(places: &mut HashMap<K, Counted<T>>, key: &K) {
    if let Some(counted) = places.get_mut(key) {
        counted.readers -= 1;
        if counted.readers == 0 {
            places.remove(key);
        }
    }
}

impl Place {
    /// Waits until the process stops, or the reader's key holds no more.
    pub(super) async fn ended(&self) {
        tokio::select! {
            () = self.followers.stop.cancelled() => {}
            () = self.key_ended.cancelled() => {}
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.followers.stop.is_cancelled() || self.key_ended.is_cancelled()
    }

    /// What follows the reader's cursor; waits until there is something, where `waits`.
    pub(super) async fn page(
        &self,
        services: &Services,
        reader: &Reader,
        waits: bool,
        limit: usize,
    ) -> Result<EventPage, Error> {
        if waits {
            // The sender lives in `followed`, so this ends with news only.
            let _ = self.head.clone().wait_for(|head| *head > reader.cursor).await;
        }
        let head = *self.head.borrow();
        if (0..=MOST).contains(&(head - reader.cursor)) {
            // One reader at a time: the first of those that are woken reads for all.
            let mut tail = self.followed.tail.lock().await;
            tail.begin(reader.cursor);
            while tail.reaches(reader.cursor) && tail.to() < head {
                let page = tail.read(services, reader.workspace).await?;
                if page.next == tail.to() {
                    // The counter has gone back: another backup of the store was put in place.
                    break;
                }
                tail.append(page);
            }
            if let Some(page) = tail.after(reader.cursor, &reader.filter, limit) {
                return Ok(page);
            }
        }
        let _turn = self.followers.turn_to_read().await;
        read(services, reader.workspace, reader.cursor, &reader.filter, limit).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.followers.lock();
        places.readers -= 1;
        leave(&mut places.by_workspace, &self.workspace);
        leave(&mut places.by_key, &self.key);
    }
}
