//! A cache of valid keys, of workspaces or of operators. An entry is trusted for four seconds, so that every process rejects a revoked key
//! within five. After that it only says that the key is known.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use quick_cache::sync::Cache;

use crate::domain::account::KeyHash;
use crate::domain::api_key::{ApiKey, OperatorKey};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{KeyId, OperatorKeyId};
use crate::fair_semaphore::{FairPermit, FairSemaphore, Shares};

const KEY_CACHE_TTL: Duration = Duration::from_secs(4);
const MAX_CACHED_KEYS: usize = 10_000;

/// Concurrent look-ups of tokens that are not known to be valid: few, so that invalid tokens do not use up the connections for reading,
/// and one for a client, so that one with many invalid tokens waits behind itself and not in front of others.
const CONCURRENT_LOOKUPS: Shares = Shares { total: 2, per_key: 1 };
/// How long a token waits for its look-up, and the delay after which another attempt is worthwhile.
const MAX_LOOKUP_WAIT: Duration = Duration::from_secs(1);

/// A stored key.
pub trait StoredKey: Clone + Send + Sync + 'static {
    type Id: Copy + Eq + Hash + Ord + Send;

    fn id(&self) -> Self::Id;

    /// Whether it is neither revoked nor expired.
    fn is_valid(&self, now: Micros) -> bool;
}

impl StoredKey for ApiKey {
    type Id = KeyId;

    fn id(&self) -> KeyId {
        self.id
    }

    fn is_valid(&self, now: Micros) -> bool {
        self.is_valid(now)
    }
}

impl StoredKey for OperatorKey {
    type Id = OperatorKeyId;

    fn id(&self) -> OperatorKeyId {
        self.id
    }

    fn is_valid(&self, now: Micros) -> bool {
        self.is_valid(now)
    }
}

/// The keys that were read recently, and when each was last used. Cheap to clone.
#[derive(Clone)]
pub struct KeyCache<K: StoredKey> {
    valid: Arc<Cache<KeyHash, (Instant, K)>>,
    lookups: FairSemaphore<Option<IpNet>>,
    /// Uses that are not yet written to the database.
    last_used: Arc<Mutex<HashMap<K::Id, Micros>>>,
}

impl<K: StoredKey> Default for KeyCache<K> {
    fn default() -> Self {
        Self {
            valid: Arc::new(Cache::new(MAX_CACHED_KEYS)),
            lookups: FairSemaphore::new(CONCURRENT_LOOKUPS),
            last_used: Arc::default(),
        }
    }
}

impl<K: StoredKey> fmt::Debug for KeyCache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

impl<K: StoredKey> KeyCache<K> {
    pub(in crate::service) fn find(&self, hash: KeyHash, now: Instant) -> Option<K> {
        let (read_at, key) = self.valid.get(&hash)?;
        (now.saturating_duration_since(read_at) < KEY_CACHE_TTL).then_some(key)
    }

    /// Whether the key was valid when it was last read, however long ago.
    pub(in crate::service) fn is_known(&self, hash: KeyHash) -> bool {
        self.valid.contains_key(&hash)
    }

    /// Waits for a permit to look up a token that is not known. `client` is the network of its client; clients whose network is not known
    /// count as one.
    ///
    /// # Errors
    /// [`Error::LimitReached`] after a second.
    pub(in crate::service) async fn acquire_lookup(
        &self,
        client: Option<IpNet>,
    ) -> Result<FairPermit<Option<IpNet>>, Error> {
        let permit = self.lookups.acquire_within(client, 1, MAX_LOOKUP_WAIT).await;
        permit.ok_or(Error::LimitReached { retry_after: MAX_LOOKUP_WAIT })
    }

    /// `queried_at` is the time before the query, as the answer may be that old.
    pub(in crate::service) fn insert(&self, hash: KeyHash, key: K, queried_at: Instant) {
        self.valid.insert(hash, (queried_at, key));
    }

    /// Forgets a key that is not valid any more.
    pub(in crate::service) fn remove(&self, hash: KeyHash) {
        self.valid.remove(&hash);
    }

    /// Forgets all secrets of a key that has changed, so that this process reads it again.
    pub(in crate::service) fn remove_key(&self, id: K::Id) {
        self.valid.retain(|_, (_, key)| key.id() != id);
    }

    pub(in crate::service) fn record_use(&self, key: K::Id, at: Micros) {
        let mut last_used = self.lock_last_used();
        // The map must stay bounded while the database is unavailable.
        if last_used.len() < MAX_CACHED_KEYS {
            last_used.insert(key, at);
        }
    }

    pub(in crate::service) fn drain_last_used(&self) -> Vec<(K::Id, Micros)> {
        std::mem::take(&mut *self.lock_last_used()).into_iter().collect()
    }

    fn lock_last_used(&self) -> MutexGuard<'_, HashMap<K::Id, Micros>> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::domain::api_key::KeySecret;
    use crate::domain::ids::WorkspaceId;

    fn key() -> ApiKey {
        ApiKey {
            id: KeyId(uuid::Uuid::nil()),
            workspace: WorkspaceId(uuid::Uuid::nil()),
            name: "back end".to_owned(),
            prefix: "sk_AQEBAQ".to_owned(),
            scopes: Vec::new(),
            created_at: Micros(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            previous_until: None,
            is_suspended: false,
        }
    }

    #[test]
    fn a_key_is_cached_for_less_than_five_seconds() {
        let keys = KeyCache::<ApiKey>::default();
        let hash = KeySecret::new([1; 32]).hash();
        let read_at = Instant::now();

        keys.insert(hash, key(), read_at);

        assert!(keys.find(hash, read_at + Duration::from_secs(3)).is_some());
        assert!(keys.find(hash, read_at + KEY_CACHE_TTL).is_none());
        assert!(keys.find(KeySecret::new([2; 32]).hash(), read_at).is_none());
    }

    #[test]
    fn a_key_is_known_until_it_is_removed() {
        let keys = KeyCache::<ApiKey>::default();
        let hash = KeySecret::new([1; 32]).hash();
        assert!(!keys.is_known(hash));

        keys.insert(hash, key(), Instant::now());
        assert!(keys.is_known(hash));

        keys.remove(hash);
        assert!(!keys.is_known(hash));
    }

    #[test]
    fn all_secrets_of_a_key_are_removed_at_once() {
        let keys = KeyCache::<ApiKey>::default();
        let hashes = [1, 2].map(|byte| KeySecret::new([byte; 32]).hash());
        let (now, other) = (Instant::now(), KeySecret::new([3; 32]).hash());
        for hash in hashes {
            keys.insert(hash, key(), now);
        }
        keys.insert(other, ApiKey { id: KeyId(uuid::Uuid::max()), ..key() }, now);

        keys.remove_key(key().id);

        assert!(hashes.iter().all(|hash| !keys.is_known(*hash)));
        assert!(keys.find(other, now).is_some());
    }

    #[tokio::test]
    async fn a_client_with_many_unknown_tokens_waits_behind_itself() {
        let keys = KeyCache::<ApiKey>::default();
        let client = |number: u8| Some(IpNet::from(std::net::IpAddr::from([192, 0, 2, number])));
        let first = keys.acquire_lookup(client(1)).await.unwrap();
        let mut flood: Vec<_> = (0..100).map(|_| Box::pin(keys.acquire_lookup(client(1)))).collect();
        assert!(flood.iter_mut().all(|lookup| lookup.as_mut().now_or_never().is_none()));

        let other = keys.acquire_lookup(client(2)).now_or_never();
        assert!(other.is_some_and(|permit| permit.is_ok()));

        drop(first);
        assert!(flood.remove(0).await.is_ok(), "the next one has its turn");
    }
}
