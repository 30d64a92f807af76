//! API keys, found by their hash.

use std::collections::HashSet;

use sqlx::QueryBuilder;

use super::{Columns, Conn, StoreError, columns, fetch, from_row, on_conn};
use crate::domain::account::Scope;
use crate::domain::api_key::{ApiKey, KeyHash};
use crate::domain::clock::Micros;
use crate::domain::ids::{KeyId, WorkspaceId};

macro_rules! key_columns {
    () => {
        "api_keys.id, api_keys.workspace_id, api_keys.name, api_keys.prefix, api_keys.scopes, \
         api_keys.created_at, api_keys.expires_at, api_keys.revoked_at, api_keys.last_used_at"
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
});

/// Scopes that this version does not know grant nothing.
fn parse_scopes(scopes: &str) -> Vec<Scope> {
    scopes.split_whitespace().filter_map(|scope| scope.parse().ok()).collect()
}

/// The key with this hash, revoked and expired keys included.
pub async fn find(conn: Conn<'_>, hash: KeyHash) -> Result<Option<ApiKey>, StoreError> {
    const FIND: &str = concat!("select ", key_columns!(), " from api_keys where hash = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(hash.0.to_vec()).fetch_optional(c).await?))
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    slug: String,
    #[sqlx(flatten)]
    key: ApiKey,
}

/// The keys among these that are valid: neither revoked nor expired.
pub async fn list_valid(conn: Conn<'_>, keys: &[KeyId], now: Micros) -> Result<HashSet<KeyId>, StoreError> {
    const KEYS: Columns<(KeyId, Micros)> = columns!(|key| { "key_id": key.0, "now": key.1 });
    const LIST: &str = "select id from new cross join api_keys where id = key_id and revoked_at is null \
        and (expires_at is null or expires_at > new.now)";
    let keys: Vec<_> = keys.iter().map(|key| (*key, now)).collect();
    let rows: Vec<(KeyId,)> = fetch(conn, &KEYS, &keys, LIST).await?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
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
            " from api_keys join workspaces on workspaces.id = api_keys.workspace_id"
        ));
        if let Some(workspace) = workspace {
            query.push(" where api_keys.workspace_id = ").push_bind(workspace);
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

/// Revokes a key unless it already is. Returns false if no key has this id.
pub async fn revoke(conn: Conn<'_>, id: KeyId, now: Micros) -> Result<bool, StoreError> {
    const REVOKE: &str = "update api_keys set revoked_at = coalesce(revoked_at, $1) where id = $2";
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
