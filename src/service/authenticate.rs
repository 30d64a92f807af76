//! Who sends a bearer key. What was found to be good holds for four seconds, so that
//! a key that is revoked opens nothing within five, in any process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Services;
use crate::domain::account::Account;
use crate::domain::api_key::{ApiKey, KeyHash, KeySecret};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::KeyId;
use crate::store::keys;

/// How long a key that was read is believed.
const KEY_CACHE_TTL: Duration = Duration::from_secs(4);
/// How often it is written when keys were last used.
const LAST_USED_FLUSH_INTERVAL: Duration = Duration::from_mins(1);
/// How many keys are kept; beyond that all are read anew.
const MAX_CACHED_KEYS: usize = 10_000;

/// The keys that were seen. Cheap to clone.
#[derive(Clone, Default)]
pub struct KeyCache {
    state: Arc<Mutex<CacheState>>,
}

#[derive(Default)]
struct CacheState {
    valid: HashMap<KeyHash, (Instant, ApiKey)>,
    /// When each was last used, since that was last written.
    last_used: HashMap<KeyId, Micros>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

impl KeyCache {
    fn find(&self, hash: KeyHash, now: Instant) -> Option<ApiKey> {
        let state = self.lock();
        let (read_at, key) = state.valid.get(&hash)?;
        (now.saturating_duration_since(*read_at) < KEY_CACHE_TTL).then(|| key.clone())
    }

    /// `queried_at`: before the store was asked, for the answer is as old as that.
    fn insert(&self, hash: KeyHash, key: ApiKey, queried_at: Instant) {
        let mut state = self.lock();
        if state.valid.len() >= MAX_CACHED_KEYS {
            state.valid.clear();
        }
        state.valid.insert(hash, (queried_at, key));
    }

    fn record_use(&self, key: KeyId, at: Micros) {
        let mut state = self.lock();
        // Where nobody writes them, they must not pile up.
        if state.last_used.len() < MAX_CACHED_KEYS {
            state.last_used.insert(key, at);
        }
    }

    fn drain_last_used(&self) -> Vec<(KeyId, Micros)> {
        std::mem::take(&mut self.lock().last_used).into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever sends this bearer token. [`Error::Unauthenticated`] where it is no key, or one that is
/// unknown, revoked or expired; [`Error::Unavailable`] where the store could not be asked.
pub async fn authenticate(services: &Services, bearer: &str) -> Result<Account, Error> {
    let hash = KeySecret::parse(bearer).ok_or(Error::Unauthenticated)?.hash();
    let queried_at = Instant::now();
    let key = if let Some(key) = services.key_cache.find(hash, queried_at) {
        key
    } else {
        let found = services.db.read(async |conn| keys::find(conn, hash).await).await?;
        let key = found.ok_or(Error::Unauthenticated)?;
        if key.revoked_at.is_none() {
            services.key_cache.insert(hash, key.clone(), queried_at);
        }
        key
    };
    let now = services.clock.now();
    let account = key.account(now).ok_or(Error::Unauthenticated)?;
    services.key_cache.record_use(account.key, now);
    Ok(account)
}

/// Writes once a minute when keys were last used, so that no request has to.
pub async fn flush_last_used_periodically(services: Services) {
    loop {
        tokio::time::sleep(LAST_USED_FLUSH_INTERVAL).await;
        if let Err(error) = flush_last_used(&services).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "when keys were used was not written");
        }
    }
}

/// Writes when keys were last used. What a failure leaves unwritten is forgotten: the key's next
/// use tells more.
pub async fn flush_last_used(services: &Services) -> Result<(), Error> {
    let mut used = services.key_cache.drain_last_used();
    if used.is_empty() {
        return Ok(());
    }
    // One order, so that two processes do not wait for each other's rows.
    used.sort_unstable();
    Ok(services.db.write(async |conn| keys::touch(conn, &used).await).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
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
