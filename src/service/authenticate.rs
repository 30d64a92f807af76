//! Authentication by API key. A key that was read is trusted for four seconds, so that within five seconds after its
//! revocation every process rejects it.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Services;
use crate::domain::account::Account;
use crate::domain::api_key::{ApiKey, KeyHash, KeySecret};
use crate::domain::error::Error;
use crate::store::{Tenant, keys};

/// How often the last-used times of keys are written.
const LAST_USED_FLUSH_INTERVAL: Duration = Duration::from_mins(1);

/// The account of a bearer token. `count_unknown` is called before the database is read for a token that this process does not
/// know to be valid, and for one that is malformed; its error refuses the request. A key that is known costs nothing there and never
/// waits for the look-ups of others. `client` is the network of the client, if it is known: one network looks up one token at a time.
///
/// # Errors
/// [`Error::Unauthenticated`] if the token is malformed, unknown, revoked or expired; [`Error::LimitReached`] if too many look-ups
/// are waiting; [`Error::Unavailable`] if the database cannot be read.
pub async fn authenticate(
    services: &Services,
    bearer: &str,
    client: Option<IpNet>,
    count_unknown: impl FnOnce() -> Result<(), Error> + Send,
) -> Result<Account, Error> {
    let Some(secret) = KeySecret::parse(bearer) else {
        count_unknown()?;
        return Err(Error::Unauthenticated);
    };
    let (hash, cache) = (secret.hash(), &services.key_cache);
    let key = match cache.find(hash, Instant::now()) {
        Some(key) => key,
        None if cache.is_known(hash) => read(services, hash).await?,
        None => read_unknown(services, hash, client, count_unknown).await?,
    };
    let now = services.clock.now();
    let Some(account) = key.account(now) else {
        cache.remove(hash);
        return Err(Error::Unauthenticated);
    };
    cache.record_use(account.key, now);
    Ok(account)
}

/// Reads a key of which this process does not know that it is valid, unless another request with the same key has read it
/// meanwhile: the first requests of a busy client all arrive at once.
async fn read_unknown(
    services: &Services,
    hash: KeyHash,
    client: Option<IpNet>,
    count_unknown: impl FnOnce() -> Result<(), Error> + Send,
) -> Result<ApiKey, Error> {
    let _permit = services.key_cache.acquire_lookup(client).await?;
    if let Some(key) = services.key_cache.find(hash, Instant::now()) {
        return Ok(key);
    }
    count_unknown()?;
    read(services, hash).await
}

/// Reads a key that has not been revoked, and remembers it.
async fn read(services: &Services, hash: KeyHash) -> Result<ApiKey, Error> {
    let queried_at = Instant::now();
    let found = services.db.read(Tenant::Unknown, async |conn| keys::find(conn, hash).await).await?;
    let Some(key) = found.filter(|key| key.revoked_at.is_none()) else {
        services.key_cache.remove(hash);
        return Err(Error::Unauthenticated);
    };
    services.key_cache.insert(hash, key.clone(), queried_at);
    Ok(key)
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
    Ok(services.db.write(Tenant::Process, async |conn| keys::touch(conn, &used).await).await?)
}
