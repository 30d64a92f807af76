//! API keys that were read, each trusted for four seconds, so that a revoked key opens nothing after five, in any process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::api_key::{ApiKey, KeyHash};
use crate::domain::clock::Micros;
use crate::domain::ids::KeyId;

/// How long a key that was read is trusted.
const KEY_CACHE_TTL: Duration = Duration::from_secs(4);
/// How many keys are cached; when the cache is full it is cleared.
const MAX_CACHED_KEYS: usize = 10_000;

/// The keys that were read. Cheap to clone.
#[derive(Clone, Default)]
pub struct KeyCache {
    state: Arc<Mutex<CacheState>>,
}

#[derive(Default)]
struct CacheState {
    valid: HashMap<KeyHash, (Instant, ApiKey)>,
    /// The last-used times that are not yet written.
    last_used: HashMap<KeyId, Micros>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

impl KeyCache {
    pub(in crate::service) fn find(&self, hash: KeyHash, now: Instant) -> Option<ApiKey> {
        let state = self.lock();
        let (read_at, key) = state.valid.get(&hash)?;
        (now.saturating_duration_since(*read_at) < KEY_CACHE_TTL).then(|| key.clone())
    }

    /// `queried_at` is the time before the query, as the answer may be that old.
    pub(in crate::service) fn insert(&self, hash: KeyHash, key: ApiKey, queried_at: Instant) {
        let mut state = self.lock();
        if state.valid.len() >= MAX_CACHED_KEYS {
            state.valid.clear();
        }
        state.valid.insert(hash, (queried_at, key));
    }

    pub(in crate::service) fn record_use(&self, key: KeyId, at: Micros) {
        let mut state = self.lock();
        // Bounded in case they are not written.
        if state.last_used.len() < MAX_CACHED_KEYS {
            state.last_used.insert(key, at);
        }
    }

    pub(in crate::service) fn drain_last_used(&self) -> Vec<(KeyId, Micros)> {
        std::mem::take(&mut self.lock().last_used).into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::api_key::KeySecret;
    use crate::domain::ids::WorkspaceId;

    #[test]
    fn a_key_is_cached_for_less_than_five_seconds() {
        let keys = KeyCache::default();
        let hash = KeySecret::new([1; 32]).hash();
        let read_at = Instant::now();
        let key = ApiKey {
            id: KeyId(uuid::Uuid::nil()),
            workspace: WorkspaceId(uuid::Uuid::nil()),
            name: "back end".to_owned(),
            prefix: "sk_AQEBAQ".to_owned(),
            scopes: Vec::new(),
            created_at: Micros(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };

        keys.insert(hash, key, read_at);

        assert!(keys.find(hash, read_at + Duration::from_secs(3)).is_some());
        assert!(keys.find(hash, read_at + KEY_CACHE_TTL).is_none());
        assert!(keys.find(KeySecret::new([2; 32]).hash(), read_at).is_none());
    }
}
