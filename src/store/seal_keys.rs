//! The keys with which stored secrets may be encrypted. A process without one of them does not start.

use super::db::is_missing_table;
use super::{Conn, StoreError, on_conn};
use crate::domain::seal::{SealKeyId, SealedSecret};

/// In the place of a key's id: the secrets were stored by a version whose form this one does not read.
pub const FORMER: &str = "former";

/// The record of a key.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyRecord {
    /// The id of the key, or [`FORMER`].
    pub key_id: String,
    /// A text that it sealed.
    pub sealed: SealedSecret,
}

/// All records. None if the database is not migrated yet.
pub async fn list(conn: Conn<'_>) -> Result<Vec<KeyRecord>, StoreError> {
    const LIST: &str = "select key_id, sealed from seal_keys order by key_id";
    let rows: Result<Vec<KeyRecord>, sqlx::Error> =
        on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await);
    match rows {
        Ok(rows) => Ok(rows),
        Err(sqlx::Error::Database(error)) if is_missing_table(error.as_ref()) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Whether an older version, which does not have this table, has stored secrets.
pub async fn has_former_secrets(conn: Conn<'_>) -> Result<bool, StoreError> {
    macro_rules! has_former_secrets {
        ($is_older:literal) => {
            concat!(
                "select ",
                $is_older,
                " and (exists (select 1 from webhook_endpoints) \
                 or exists (select 1 from tools where definition like '%\"sealed\":\"%') \
                 or exists (select 1 from calendars where rules like '%\"sealed\":\"%'))"
            )
        };
    }
    let query = conn.pick(
        has_former_secrets!("to_regclass('seal_keys') is null"),
        has_former_secrets!("not exists (select 1 from sqlite_master where name = 'seal_keys')"),
    );
    let found: Result<bool, sqlx::Error> = on_conn!(conn, |c| sqlx::query_scalar(query).fetch_one(c).await);
    match found {
        Ok(found) => Ok(found),
        Err(sqlx::Error::Database(error)) if is_missing_table(error.as_ref()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for other transactions that record a key, so that the records can be read before one is added. SQLite has one writer.
pub async fn lock(conn: Conn<'_>) -> Result<(), StoreError> {
    const LOCK: &str = "lock table seal_keys in share row exclusive mode";
    if let Conn::Postgres(c) = conn {
        sqlx::query(LOCK).execute(c).await?;
    }
    Ok(())
}

/// Records a key, unless it is recorded.
pub async fn insert(conn: Conn<'_>, key: &SealKeyId, sealed: &SealedSecret) -> Result<(), StoreError> {
    const INSERT: &str =
        "insert into seal_keys (key_id, sealed) values ($1, $2) on conflict (key_id) do nothing";
    on_conn!(conn, |c| {
        sqlx::query(INSERT).bind(key.as_str()).bind(sealed).execute(c).await?;
    });
    Ok(())
}

/// Removes the records of all other keys, and returns their ids.
pub async fn delete_others(conn: Conn<'_>, key: &SealKeyId) -> Result<Vec<String>, StoreError> {
    const DELETE: &str = "delete from seal_keys where key_id <> $1 returning key_id";
    Ok(on_conn!(conn, |c| sqlx::query_scalar(DELETE).bind(key.as_str()).fetch_all(c).await?))
}
