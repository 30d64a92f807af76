//! A cache of valid API keys. An entry is trusted for four seconds, so that every process rejects a revoked key
//! within five. After that it only says that the key is known.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use quick_cache::sync::Cache;

use super::lookup_queue::{LookupPermit, LookupQueue};
use crate::domain::api_key::{ApiKey, KeyHash};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::KeyId;

const KEY_CACHE_TTL: Duration = Duration::from_secs(4);
const MAX_CACHED_KEYS: usize = 10_000;

/// The keys that were read recently, and when each was last used. Cheap to clone.
#[derive(Clone)]
pub struct KeyCache {
    valid: Arc<Cache<KeyHash, (Instant, ApiKey)>>,
    lookups: LookupQueue,
    /// Uses that are not yet written to the database.
    last_used: Arc<Mutex<HashMap<KeyId, Micros>>>,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self {
            valid: Arc::new(Cache::new(MAX_CACHED_KEYS)),
            lookups: LookupQueue::default(),
            last_used: Arc::default(),
        }
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

impl KeyCache {
    pub(in crate::service) fn find(&self, hash: KeyHash, now: Instant) -> Option<ApiKey> {
        let (read_at, key) = self.valid.get(&hash)?;
        (now.saturating_duration_since(read_at) < KEY_CACHE_TTL).then_some(key)
    }

    /// Whether the key was valid when it was last read, however long ago.
    pub(in crate::service) fn is_known(&self, hash: KeyHash) -> bool {
        self.valid.contains_key(&hash)
    }

    /// Waits for a permit to look up a token that is not known. `client` is the network of its client, if that is known.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if too many look-ups are waiting.
    pub(in crate::service) async fn acquire_lookup(
        &self,
        client: Option<IpNet>,
    ) -> Result<LookupPermit, Error> {
        self.lookups.acquire(client).await
    }

    /// `queried_at` is the time before the query, as the answer may be that old.
    pub(in crate::service) fn insert(&self, hash: KeyHash, key: ApiKey, queried_at: Instant) {
        self.valid.insert(hash, (queried_at, key));
    }

    /// Forgets a key that is not valid any more.
    pub(in crate::service) fn remove(&self, hash: KeyHash) {
        self.valid.remove(&hash);
    }

    pub(in crate::service) fn record_use(&self, key: KeyId, at: Micros) {
        let mut last_used = self.lock_last_used();
        // The map must stay bounded while the database is unavailable.
        if last_used.len() < MAX_CACHED_KEYS {
            last_used.insert(key, at);
        }
    }

    pub(in crate::service) fn drain_last_used(&self) -> Vec<(KeyId, Micros)> {
        std::mem::take(&mut *self.lock_last_used()).into_iter().collect()
    }

    fn lock_last_used(&self) -> MutexGuard<'_, HashMap<KeyId, Micros>> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
        }
    }

    #[test]
    fn a_key_is_cached_for_less_than_five_seconds() {
        let keys = KeyCache::default();
        let hash = KeySecret::new([1; 32]).hash();
        let read_at = Instant::now();

        keys.insert(hash, key(), read_at);

        assert!(keys.find(hash, read_at + Duration::from_secs(3)).is_some());
        assert!(keys.find(hash, read_at + KEY_CACHE_TTL).is_none());
        assert!(keys.find(KeySecret::new([2; 32]).hash(), read_at).is_none());
    }

    #[test]
    fn a_key_is_known_until_it_is_removed() {
        let keys = KeyCache::default();
        let hash = KeySecret::new([1; 32]).hash();
        assert!(!keys.is_known(hash));

        keys.insert(hash, key(), Instant::now());
        assert!(keys.is_known(hash));

        keys.remove(hash);
        assert!(!keys.is_known(hash));
    }
}
