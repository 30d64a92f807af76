//! Authentication by API key. A key that was read is trusted for four seconds, so that within five seconds after its
//! revocation every process rejects it. A write that outlives its key reads it again, in its transaction (`current_key`).

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Services;
use super::state::{KeyCache, StoredKey};
use crate::domain::account::{Account, KeyHash, OperatorAccount};
use crate::domain::api_key::KeySecret;
use crate::domain::error::Error;
use crate::store::{Conn, StoreError, Tenant, keys, operator_keys};

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
    let hash = secret.hash();
    let cache = &services.key_cache;
    let find = async |conn: Conn<'_>| keys::find(conn, hash).await;
    Ok(find_valid(services, cache, hash, client, count_unknown, find).await?.account(hash))
}

/// The account of a bearer token of the operator's API; as [`authenticate`].
///
/// # Errors
/// As those of [`authenticate`].
pub async fn authenticate_operator(
    services: &Services,
    bearer: &str,
    client: Option<IpNet>,
    count_unknown: impl FnOnce() -> Result<(), Error> + Send,
) -> Result<OperatorAccount, Error> {
    let Some(secret) = KeySecret::parse_operator(bearer) else {
        count_unknown()?;
        return Err(Error::Unauthenticated);
    };
    let hash = secret.hash();
    let cache = &services.operator_key_cache;
    let find = async |conn: Conn<'_>| operator_keys::find(conn, hash).await;
    Ok(find_valid(services, cache, hash, client, count_unknown, find).await?.account(hash))
}

/// The key with this hash, if it is valid.
async fn find_valid<K: StoredKey>(
    services: &Services,
    cache: &KeyCache<K>,
    hash: KeyHash,
    client: Option<IpNet>,
    count_unknown: impl FnOnce() -> Result<(), Error> + Send,
    find: impl AsyncFnOnce(Conn<'_>) -> Result<Option<K>, StoreError>,
) -> Result<K, Error> {
    let key = if let Some(key) = cache.find(hash, Instant::now()) {
        key
    } else if cache.is_known(hash) {
        read(services, cache, hash, find).await?
    } else {
        let _permit = cache.acquire_lookup(client).await?;
        // Another request with the same key may have read it meanwhile: the first requests of a busy client all arrive at once.
        if let Some(key) = cache.find(hash, Instant::now()) {
            key
        } else {
            count_unknown()?;
            read(services, cache, hash, find).await?
        }
    };
    let now = services.clock.now();
    if !key.is_valid(now) {
        cache.remove(hash);
        return Err(Error::Unauthenticated);
    }
    cache.record_use(key.id(), now);
    Ok(key)
}

/// Reads a key, and remembers it if it is valid.
async fn read<K: StoredKey>(
    services: &Services,
    cache: &KeyCache<K>,
    hash: KeyHash,
    find: impl AsyncFnOnce(Conn<'_>) -> Result<Option<K>, StoreError>,
) -> Result<K, Error> {
    let queried_at = Instant::now();
    let found = services.db.read(Tenant::Unknown, find).await?;
    let now = services.clock.now();
    let Some(key) = found.filter(|key| key.is_valid(now)) else {
        cache.remove(hash);
        return Err(Error::Unauthenticated);
    };
    cache.insert(hash, key.clone(), queried_at);
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
    let mut used_by_operators = services.operator_key_cache.drain_last_used();
    if used.is_empty() && used_by_operators.is_empty() {
        return Ok(());
    }
    // Sorted, so that two processes do not deadlock on the rows.
    used.sort_unstable();
    used_by_operators.sort_unstable();
    // Operators' keys first, as in a change that an operator makes to a key of a workspace.
    let touch = async |mut conn: Conn<'_>| {
        operator_keys::touch(conn.reborrow(), &used_by_operators).await?;
        keys::touch(conn, &used).await
    };
    Ok(services.db.write(Tenant::Process, touch).await?)
}
