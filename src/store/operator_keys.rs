//! Keys of the operator's API, found by their hash.

use super::{Conn, StoreError, from_row, on_conn};
use crate::domain::account::KeyHash;
use crate::domain::api_key::OperatorKey;
use crate::domain::clock::Micros;
use crate::domain::ids::OperatorKeyId;

from_row!(OperatorKey, |row| Self {
    id: row.try_get("id")?,
    name: row.try_get("name")?,
    prefix: row.try_get("prefix")?,
    created_at: row.try_get("created_at")?,
    expires_at: row.try_get("expires_at")?,
    revoked_at: row.try_get("revoked_at")?,
    last_used_at: row.try_get("last_used_at")?,
});

macro_rules! operator_key_columns {
    () => {
        "id, name, prefix, created_at, expires_at, revoked_at, last_used_at"
    };
}

/// The key with this hash, revoked and expired keys included.
pub async fn find(conn: Conn<'_>, hash: KeyHash) -> Result<Option<OperatorKey>, StoreError> {
    const FIND: &str = concat!("select ", operator_key_columns!(), " from operator_keys where hash = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(hash.0.to_vec()).fetch_optional(c).await?))
}

/// Like [`find`], with a lock that a revocation waits for.
pub async fn find_locked(conn: Conn<'_>, hash: KeyHash) -> Result<Option<OperatorKey>, StoreError> {
    macro_rules! find {
        ($lock:literal) => {
            concat!("select ", operator_key_columns!(), " from operator_keys where hash = $1", $lock)
        };
    }
    let find = conn.pick(find!(" for share"), find!(""));
    Ok(on_conn!(conn, |c| sqlx::query_as(find).bind(hash.0.to_vec()).fetch_optional(c).await?))
}

/// A key by its id.
pub async fn find_by_id(conn: Conn<'_>, id: OperatorKeyId) -> Result<Option<OperatorKey>, StoreError> {
    const FIND: &str = concat!("select ", operator_key_columns!(), " from operator_keys where id = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await?))
}

/// All keys, the oldest first.
pub async fn list(conn: Conn<'_>) -> Result<Vec<OperatorKey>, StoreError> {
    const LIST: &str = concat!("select ", operator_key_columns!(), " from operator_keys order by id");
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await?))
}

/// Inserts a new key under its hash.
pub async fn insert(conn: Conn<'_>, key: &OperatorKey, hash: KeyHash) -> Result<(), StoreError> {
    const INSERT: &str = "insert into operator_keys (hash, id, name, prefix, created_at, expires_at) \
        values ($1, $2, $3, $4, $5, $6)";
    on_conn!(conn, |c| {
        let query = sqlx::query(INSERT).bind(hash.0.to_vec()).bind(key.id).bind(&key.name).bind(&key.prefix);
        query.bind(key.created_at).bind(key.expires_at).execute(c).await?;
    });
    Ok(())
}

/// Revokes a key unless it already is. Returns whether it was not.
pub async fn revoke(conn: Conn<'_>, id: OperatorKeyId, now: Micros) -> Result<bool, StoreError> {
    const REVOKE: &str = "update operator_keys set revoked_at = $1 where id = $2 and revoked_at is null";
    Ok(on_conn!(conn, |c| sqlx::query(REVOKE).bind(now).bind(id).execute(c).await?.rows_affected()) > 0)
}

/// Records when keys were last used. An earlier time changes nothing.
pub async fn touch(mut conn: Conn<'_>, used: &[(OperatorKeyId, Micros)]) -> Result<(), StoreError> {
    const TOUCH: &str = "update operator_keys set last_used_at = $1 \
        where id = $2 and (last_used_at is null or last_used_at < $1)";
    for (id, at) in used {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(TOUCH).bind(at).bind(id).execute(c).await?;
        });
    }
    Ok(())
}
