//! Authentication with a bearer key.

use std::time::{Duration, Instant};

use super::Services;
use crate::domain::account::Account;
use crate::domain::api_key::KeySecret;
use crate::domain::error::Error;
use crate::store::keys;

const LAST_USED_FLUSH_INTERVAL: Duration = Duration::from_mins(1);

/// The account of a bearer token.
///
/// # Errors
/// [`Error::Unauthenticated`] if the token is malformed, unknown, revoked or expired; [`Error::Unavailable`] if
/// the database is unavailable.
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

/// Writes once a minute when keys were last used.
pub async fn flush_last_used_periodically(services: Services) {
    loop {
        tokio::time::sleep(LAST_USED_FLUSH_INTERVAL).await;
        if let Err(error) = flush_last_used(&services).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last use of keys could not be written"
            );
        }
    }
}

/// Writes when keys were last used. A failed write is not repeated: the next use of the key is written instead.
pub async fn flush_last_used(services: &Services) -> Result<(), Error> {
    let mut used = services.key_cache.drain_last_used();
    if used.is_empty() {
        return Ok(());
    }
    // Sorted, so that two processes lock the rows in the same order.
    used.sort_unstable();
    Ok(services.db.write(async |conn| keys::touch(conn, &used).await).await?)
}
