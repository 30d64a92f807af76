//! Authentication by API key. A key that was read is trusted for four seconds, so that within five seconds after its
//! revocation every process rejects it.

use std::time::{Duration, Instant};

use super::Services;
use crate::domain::account::Account;
use crate::domain::api_key::KeySecret;
use crate::domain::error::Error;
use crate::store::keys;

/// How often the last-used times of keys are written.
const LAST_USED_FLUSH_INTERVAL: Duration = Duration::from_mins(1);

/// The account of a bearer token.
///
/// # Errors
/// [`Error::Unauthenticated`] if it is malformed, unknown, revoked or expired; [`Error::Unavailable`] if the database
/// cannot be read.
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

/// Writes the last-used times of keys once a minute, so that no request has to.
pub async fn flush_last_used_periodically(services: Services) {
    loop {
        tokio::time::sleep(LAST_USED_FLUSH_INTERVAL).await;
        if let Err(error) = flush_last_used(&services).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last-used times of keys could not be written"
            );
        }
    }
}

/// Writes the last-used times of keys. After a failure they are dropped: the key's next use records a later time.
pub async fn flush_last_used(services: &Services) -> Result<(), Error> {
    let mut used = services.key_cache.drain_last_used();
    if used.is_empty() {
        return Ok(());
    }
    // Sorted, so that two processes do not deadlock on the rows.
    used.sort_unstable();
    Ok(services.db.write(async |conn| keys::touch(conn, &used).await).await?)
}
