//! The followers of event feeds, limited in number, by workspace and by credential: an API key, or the link of a conversation.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feed_cache::{FeedCache, MAX_EVENTS};
use crate::domain::account::{Account, KeyHash};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{WidgetUuid, WorkspaceId};
use crate::fair_semaphore::{FairPermit, FairSemaphore, Shares};
use crate::service::Services;
use crate::service::read_events::{EventPage, FeedReader, read};
use crate::store::ReadLimit;

/// How long a refused follower is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many followers that are behind the cached events may read at once, and how many of one workspace. Others wait for as long as it
/// takes, and the other read connections (`store.read_connections`) are left to requests.
const CONCURRENT_READS: Shares = Shares { total: 3, per_key: 2 };

/// How many followers of one conversation this process accepts: a visitor's browsers and tabs.
const MAX_FOLLOWERS_PER_LINK: usize = 4;

/// How many followers this process accepts.
#[derive(Clone, Copy, Debug)]
pub struct FollowerBounds {
    /// `events.max_followers`.
    pub max_followers: usize,
    /// `events.max_followers_per_workspace`.
    pub max_followers_per_workspace: usize,
}

impl FollowerBounds {
    /// The bounds for visitors, who leave a quarter to API keys.
    fn for_visitors(self) -> Self {
        let Self { max_followers, max_followers_per_workspace } = self;
        Self {
            max_followers: max_followers - max_followers / 4,
            max_followers_per_workspace: max_followers_per_workspace - max_followers_per_workspace / 4,
        }
    }
}

/// The followers of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Followers {
    state: Arc<Mutex<FollowerState>>,
    bounds: FollowerBounds,
    read_permits: FairSemaphore<WorkspaceId>,
    /// Cancelled when the process begins to stop.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct FollowerState {
    by_workspace: HashMap<WorkspaceId, RefCounted<Arc<FollowedFeed>>>,
    /// Cancelled when the secret becomes invalid, or its workspace is suspended.
    by_key: HashMap<KeyHash, RefCounted<CancellationToken>>,
    by_link: HashMap<WidgetUuid, RefCounted<FollowedLink>>,
    count: usize,
}

impl FollowerState {
    fn check_room(&self, workspace: WorkspaceId, bounds: FollowerBounds) -> Result<(), Error> {
        let of_workspace = self.by_workspace.get(&workspace).map_or(0, |entry| entry.count);
        if self.count >= bounds.max_followers || of_workspace >= bounds.max_followers_per_workspace {
            let text = "Too many readers follow the events";
            return Err(Error::Overloaded { text, retry_after: RETRY_AFTER });
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct RefCounted<T> {
    count: usize,
    value: T,
}

/// The feed of a followed workspace: its known latest cursor, and its latest events.
#[derive(Debug, Default)]
struct FollowedFeed {
    latest_cursor: watch::Sender<i64>,
    cache: tokio::sync::Mutex<FeedCache>,
}

/// The link of a followed conversation.
#[derive(Clone, Debug, Default)]
struct FollowedLink {
    /// Cancelled when the link becomes invalid, or its workspace is suspended.
    revoked: CancellationToken,
    /// When a person last typed, if that was a few seconds ago.
    typed_at: watch::Sender<Option<Micros>>,
}

/// What gives a follower access to the events.
#[derive(Clone, Copy, Debug)]
enum Credential {
    Key(KeyHash),
    Link(WidgetUuid),
}

/// The subscription of one follower.
#[derive(Debug)]
pub(in crate::service) struct Subscription {
    followers: Followers,
    workspace: WorkspaceId,
    credential: Credential,
    feed: Arc<FollowedFeed>,
    latest_cursor: watch::Receiver<i64>,
    revoked: CancellationToken,
}

impl Followers {
    /// No followers yet; all of them end when `stop` is cancelled.
    #[must_use]
    pub fn new(bounds: FollowerBounds, stop: CancellationToken) -> Self {
        Self { state: Arc::default(), bounds, read_permits: FairSemaphore::new(CONCURRENT_READS), stop }
    }

    /// Waits until fewer than [`CONCURRENT_READS`] followers read on their own.
    pub(in crate::service) async fn acquire_read_permit(
        &self,
        workspace: WorkspaceId,
    ) -> FairPermit<WorkspaceId> {
        self.read_permits.acquire(workspace, 1).await
    }

    /// Subscribes a client with an API key.
    pub(in crate::service) fn subscribe(&self, account: &Account) -> Result<Subscription, Error> {
        let (workspace, key) = (account.workspace, account.secret);
        let mut state = self.lock();
        state.check_room(workspace, self.bounds)?;
        let revoked = acquire(&mut state.by_key, key);
        Ok(self.subscription(state, workspace, Credential::Key(key), revoked))
    }

    /// Subscribes a visitor with the link of a conversation. Also returns when a person last typed there.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if the conversation has too many followers, [`Error::Overloaded`] if there are too many in all.
    pub(in crate::service) fn subscribe_link(
        &self,
        workspace: WorkspaceId,
        link: WidgetUuid,
    ) -> Result<(Subscription, watch::Receiver<Option<Micros>>), Error> {
        let mut state = self.lock();
        if state.by_link.get(&link).is_some_and(|entry| entry.count >= MAX_FOLLOWERS_PER_LINK) {
            return Err(Error::LimitReached { retry_after: RETRY_AFTER });
        }
        state.check_room(workspace, self.bounds.for_visitors())?;
        let FollowedLink { revoked, typed_at } = acquire(&mut state.by_link, link);
        let subscription = self.subscription(state, workspace, Credential::Link(link), revoked);
        Ok((subscription, typed_at.subscribe()))
    }

    fn subscription(
        &self,
        mut state: MutexGuard<'_, FollowerState>,
        workspace: WorkspaceId,
        credential: Credential,
        revoked: CancellationToken,
    ) -> Subscription {
        state.count += 1;
        let feed = acquire(&mut state.by_workspace, workspace);
        drop(state);
        let latest_cursor = feed.latest_cursor.subscribe();
        Subscription { followers: self.clone(), workspace, credential, feed, latest_cursor, revoked }
    }

    /// Wakes a workspace's followers: its feed reaches at least to `latest_cursor`.
    pub fn advance(&self, workspace: WorkspaceId, latest_cursor: i64) {
        if let Some(entry) = self.lock().by_workspace.get(&workspace) {
            entry.value.latest_cursor.send_if_modified(|current| {
                let is_advanced = latest_cursor > *current;
                *current = latest_cursor.max(*current);
                is_advanced
            });
        }
    }

    /// The number of followers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// The most followers that one workspace has, and how many are accepted.
    #[must_use]
    pub fn largest_workspace(&self) -> (usize, usize) {
        let largest = self.lock().by_workspace.values().map(|entry| entry.count).max().unwrap_or(0);
        (largest, self.bounds.max_followers)
    }

    pub(in crate::service) fn workspaces(&self) -> Vec<WorkspaceId> {
        self.lock().by_workspace.keys().copied().collect()
    }

    pub(in crate::service) fn keys(&self) -> Vec<KeyHash> {
        self.lock().by_key.keys().copied().collect()
    }

    /// Ends the followers whose keys were `checked` and are not `valid`.
    pub(in crate::service) fn end_invalid_keys(&self, checked: &[KeyHash], valid: &HashSet<KeyHash>) {
        let state = self.lock();
        for key in checked.iter().filter(|key| !valid.contains(key)) {
            if let Some(entry) = state.by_key.get(key) {
                entry.value.cancel();
            }
        }
    }

    pub(in crate::service) fn links(&self) -> Vec<WidgetUuid> {
        self.lock().by_link.keys().copied().collect()
    }

    /// Ends the followers whose links were `checked` and are not `valid`.
    pub(in crate::service) fn end_invalid_links(&self, checked: &[WidgetUuid], valid: &HashSet<WidgetUuid>) {
        let state = self.lock();
        for link in checked.iter().filter(|link| !valid.contains(link)) {
            if let Some(entry) = state.by_link.get(link) {
                entry.value.revoked.cancel();
            }
        }
    }

    /// Tells the followers of these links when a person last typed: not lately, if the link is not in `typed`.
    pub(in crate::service) fn set_typing(&self, links: &[WidgetUuid], typed: &HashMap<WidgetUuid, Micros>) {
        let state = self.lock();
        for link in links {
            let Some(entry) = state.by_link.get(link) else { continue };
            let typed_at = typed.get(link).copied();
            entry.value.typed_at.send_if_modified(|current| std::mem::replace(current, typed_at) != typed_at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, FollowerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acquire<K: Hash + Eq, T: Clone + Default>(state: &mut HashMap<K, RefCounted<T>>, key: K) -> T {
    let entry = state.entry(key).or_default();
    entry.count += 1;
    entry.value.clone()
}

fn release<K: Hash + Eq, T>(state: &mut HashMap<K, RefCounted<T>>, key: &K) {
    if let Some(entry) = state.get_mut(key) {
        entry.count -= 1;
        if entry.count == 0 {
            state.remove(key);
        }
    }
}

impl Subscription {
    /// Waits until the process stops or the credential becomes invalid.
    pub(in crate::service) async fn ended(&self) {
        tokio::select! {
            () = self.followers.stop.cancelled() => {}
            () = self.revoked.cancelled() => {}
        }
    }

    pub(in crate::service) fn has_ended(&self) -> bool {
        self.followers.stop.is_cancelled() || self.revoked.is_cancelled()
    }

    /// The events after the reader's cursor; with `wait`, waits until there are any.
    pub(in crate::service) async fn page(
        &self,
        services: &Services,
        reader: &FeedReader,
        wait: bool,
        limit: ReadLimit,
    ) -> Result<EventPage, Error> {
        if wait {
            // The sender lives in `feed`, so this returns only when the cursor advances.
            let _ = self.latest_cursor.clone().wait_for(|latest_cursor| *latest_cursor > reader.cursor).await;
        }
        let latest_cursor = *self.latest_cursor.borrow();
        if (0..=MAX_EVENTS).contains(&(latest_cursor - reader.cursor)) {
            // The first follower to get the lock reads for all that were woken.
            let mut cache = self.feed.cache.lock().await;
            cache.fast_forward(reader.cursor);
            while cache.covers(reader.cursor) && cache.to() < latest_cursor {
                let page = cache.read(services, reader.workspace).await?;
                if page.next == cache.to() {
                    // The cursor went backwards: the database was restored from a backup.
                    break;
                }
                cache.append(page);
            }
            if let Some(page) = cache.after(reader.cursor, &reader.filter, limit) {
                return Ok(page);
            }
        }
        let _permit = self.followers.acquire_read_permit(reader.workspace).await;
        read(services, reader.workspace, reader.cursor, &reader.filter, limit).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.followers.lock();
        state.count -= 1;
        release(&mut state.by_workspace, &self.workspace);
        match &self.credential {
            Credential::Key(key) => release(&mut state.by_key, key),
            Credential::Link(link) => release(&mut state.by_link, link),
        }
    }
}
