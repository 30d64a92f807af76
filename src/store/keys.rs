//! API keys, found by their hash.

use std::collections::HashSet;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Columns, Conn, StoreError, columns, fetch, from_row, on_conn};
use crate::domain::account::{KeyHash, Scope};
use crate::domain::api_key::ApiKey;
use crate::domain::clock::Micros;
use crate::domain::ids::{KeyId, WorkspaceId};

macro_rules! key_columns {
    () => {
        "api_keys.id, api_keys.workspace_id, api_keys.name, api_keys.prefix, api_keys.scopes, \
         api_keys.created_at, api_keys.expires_at, api_keys.revoked_at, api_keys.last_used_at, \
         api_keys.previous_until, workspaces.suspended_at as workspace_suspended_at"
    };
}

macro_rules! key_tables {
    () => {
        " from api_keys join workspaces on workspaces.id = api_keys.workspace_id"
    };
}

from_row!(ApiKey, |row| Self {
    id: row.try_get("id")?,
    workspace: row.try_get("workspace_id")?,
    name: row.try_get("name")?,
    prefix: row.try_get("prefix")?,
    scopes: parse_scopes(row.try_get("scopes")?),
    created_at: row.try_get("created_at")?,
    expires_at: row.try_get("expires_at")?,
    revoked_at: row.try_get("revoked_at")?,
    last_used_at: row.try_get("last_used_at")?,
    previous_until: row.try_get("previous_until")?,
    is_suspended: row.try_get::<Option<Micros>, _>("workspace_suspended_at")?.is_some(),
});

/// Scopes that this version does not know grant nothing.
fn parse_scopes(scopes: &str) -> Vec<Scope> {
    scopes.split_whitespace().filter_map(|scope| scope.parse().ok()).collect()
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    found_hash: Vec<u8>,
    #[sqlx(flatten)]
    key: ApiKey,
}

/// The key with this hash, revoked and expired keys included, but none of a deleted workspace. If it is the hash before the last roll, the
/// key expires with its overlap.
pub async fn find(conn: Conn<'_>, hash: KeyHash) -> Result<Option<ApiKey>, StoreError> {
    const FIND: &str = concat!(
        "select api_keys.hash as found_hash, ",
        key_columns!(),
        key_tables!(),
        " where (api_keys.hash = $1 or api_keys.previous_hash = $1) and workspaces.deleted_at is null"
    );
    let row: Option<FoundRow> =
        on_conn!(conn, |c| sqlx::query_as(FIND).bind(hash.0.to_vec()).fetch_optional(c).await?);
    Ok(row.map(|FoundRow { found_hash, mut key }| {
        if found_hash != hash.0 {
            key.expires_at = key.expires_at.into_iter().chain(key.previous_until).min();
        }
        key
    }))
}

/// A key of the workspace.
pub async fn find_by_id(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KeyId,
) -> Result<Option<ApiKey>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        key_columns!(),
        key_tables!(),
        " where api_keys.workspace_id = $1 and api_keys.id = $2"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// A key by its id, of any workspace.
pub async fn find_of_any(conn: Conn<'_>, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
    const FIND: &str = concat!("select ", key_columns!(), key_tables!(), " where api_keys.id = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await?))
}

/// Whether this is the hash of the key's present secret, and not of the one before its last roll.
pub async fn has_hash(conn: Conn<'_>, key: &ApiKey, hash: KeyHash) -> Result<bool, StoreError> {
    const COUNT: &str = "select count(*) from api_keys where workspace_id = $1 and id = $2 and hash = $3";
    let count: i64 = on_conn!(conn, |c| {
        let query = sqlx::query_scalar(COUNT).bind(key.workspace).bind(key.id);
        query.bind(hash.0.to_vec()).fetch_one(c).await?
    });
    Ok(count > 0)
}

/// The workspace's first keys after an id, in the order of their ids.
pub async fn list_after(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        key_columns!(),
        key_tables!(),
        " where api_keys.workspace_id = $1 and api_keys.id > $2 order by api_keys.id limit $3"
    );
    let after = after.unwrap_or(KeyId(Uuid::nil()));
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(after).bind(limit).fetch_all(c).await?
    }))
}

/// The hashes among these with which a client may follow events: of keys that are neither revoked nor expired, of workspaces that are not
/// suspended.
pub async fn list_following(
    conn: Conn<'_>,
    hashes: &[KeyHash],
    now: Micros,
) -> Result<HashSet<KeyHash>, StoreError> {
    const HASHES: Columns<(KeyHash, Micros)> = columns!(|key| { "key_hash": key.0.0.to_vec(), "now": key.1 });
    const LIST: &str = "select key_hash from new cross join api_keys join workspaces \
        on workspaces.id = api_keys.workspace_id where (hash = key_hash \
        or (previous_hash = key_hash and previous_until > new.now)) and revoked_at is null \
        and (expires_at is null or expires_at > new.now) and suspended_at is null";
    let hashes: Vec<_> = hashes.iter().map(|hash| (*hash, now)).collect();
    let rows: Vec<(Vec<u8>,)> = fetch(conn, &HASHES, &hashes, LIST).await?;
    Ok(rows.into_iter().filter_map(|(hash,)| hash.try_into().ok().map(KeyHash)).collect())
}

/// How many of a workspace's keys are neither revoked nor expired.
pub async fn count_valid(conn: Conn<'_>, workspace: WorkspaceId, now: Micros) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from api_keys where workspace_id = $1 and revoked_at is null \
        and (expires_at is null or expires_at > $2)";
    Ok(on_conn!(conn, |c| sqlx::query_scalar(COUNT).bind(workspace).bind(now).fetch_one(c).await?))
}

/// Removes the workspace's keys that are revoked or expired, except the `kept` newest.
pub async fn remove_invalid(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    now: Micros,
    kept: i64,
) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from api_keys where workspace_id = $1 and id in (select id from api_keys \
        where workspace_id = $1 and (revoked_at is not null or expires_at <= $2) order by id desc \
        limit 1000000 offset $3)";
    on_conn!(conn, |c| {
        sqlx::query(REMOVE).bind(workspace).bind(now).bind(kept).execute(c).await?;
    });
    Ok(())
}

/// Gives a key another secret. With `previous_until` the present one stays valid until then.
pub async fn roll(
    conn: Conn<'_>,
    key: &ApiKey,
    hash: KeyHash,
    previous_until: Option<Micros>,
) -> Result<(), StoreError> {
    const ROLL: &str = "update api_keys set hash = $1, prefix = $2, previous_until = $3, \
        previous_hash = case when $3 is null then null else hash end where workspace_id = $4 and id = $5";
    on_conn!(conn, |c| {
        let query = sqlx::query(ROLL).bind(hash.0.to_vec()).bind(&key.prefix).bind(previous_until);
        query.bind(key.workspace).bind(key.id).execute(c).await?;
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    slug: String,
    #[sqlx(flatten)]
    key: ApiKey,
}

/// The keys of one workspace or of all, each with the slug of its workspace, oldest first.
pub async fn list(
    conn: Conn<'_>,
    workspace: Option<WorkspaceId>,
) -> Result<Vec<(String, ApiKey)>, StoreError> {
    let rows: Vec<ListedRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(concat!(
            "select workspaces.slug, ",
            key_columns!(),
            key_tables!(),
            " where workspaces.removed_at is null"
        ));
        if let Some(workspace) = workspace {
            query.push(" and api_keys.workspace_id = ").push_bind(workspace);
        }
        query.push(" order by workspaces.slug, api_keys.created_at, api_keys.id");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|row| (row.slug, row.key)).collect())
}

/// Inserts a new key under its hash.
pub async fn insert(conn: Conn<'_>, key: &ApiKey, hash: KeyHash) -> Result<(), StoreError> {
    const INSERT: &str = "insert into api_keys (hash, id, workspace_id, name, prefix, scopes, created_at, \
        expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| Scope::as_str(*scope)).collect();
    on_conn!(conn, |c| {
        let query = sqlx::query(INSERT).bind(hash.0.to_vec()).bind(key.id).bind(key.workspace);
        let query = query.bind(&key.name).bind(&key.prefix).bind(scopes.join(" "));
        query.bind(key.created_at).bind(key.expires_at).execute(c).await?;
    });
    Ok(())
}

/// Revokes a key unless it already is. Returns whether it was not.
pub async fn revoke(conn: Conn<'_>, id: KeyId, now: Micros) -> Result<bool, StoreError> {
    const REVOKE: &str = "update api_keys set revoked_at = $1 where id = $2 and revoked_at is null";
    let changed =
        on_conn!(conn, |c| sqlx::query(REVOKE).bind(now).bind(id).execute(c).await?.rows_affected());
    Ok(changed > 0)
}

/// Records when keys were last used. An earlier time changes nothing.
pub async fn touch(mut conn: Conn<'_>, used: &[(KeyId, Micros)]) -> Result<(), StoreError> {
    const TOUCH: &str = "update api_keys set last_used_at = $1 \
        where id = $2 and (last_used_at is null or last_used_at < $1)";
    for (id, at) in used {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(TOUCH).bind(at).bind(id).execute(c).await?;
        });
    }
    Ok(())
}
