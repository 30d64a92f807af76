//! Who sends a bearer key. What was found to be good holds for four seconds, so that
//! a key that is revoked opens nothing within five, in any process.

use std::time::{Duration, Instant};

use super::Services;
use crate::domain::account::Account;
use crate::domain::api_key::KeySecret;
use crate::domain::error::Error;
use crate::store::keys;

/// How often it is written when keys were last used.
const LAST_USED_FLUSH_INTERVAL: Duration = Duration::from_mins(1);

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
