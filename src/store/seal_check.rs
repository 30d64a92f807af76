//! The text that was sealed with the key of this database's secrets.

use super::db::is_missing_table;
use super::{Conn, StoreError, on_conn};
use crate::domain::seal::SealedSecret;

/// The most stored secrets that [`samples`] returns.
const MAX_SAMPLES: usize = 100;

/// The beginning of a sealed secret in stored JSON; base64 follows.
const SEALED: &str = "\"sealed\":\"";

/// The sealed text, if the key of this database was recorded. `None` too if the database is not migrated yet.
pub async fn find(conn: Conn<'_>) -> Result<Option<SealedSecret>, StoreError> {
    const FIND: &str = "select sealed from seal_check";
    let row: Result<Option<(SealedSecret,)>, sqlx::Error> =
        on_conn!(conn, |c| sqlx::query_as(FIND).fetch_optional(c).await);
    Ok(unless_missing(row)?.flatten().map(|(sealed,)| sealed))
}

/// Records the key, unless one is recorded.
pub async fn insert(conn: Conn<'_>, sealed: &SealedSecret) -> Result<(), StoreError> {
    const INSERT: &str = "insert into seal_check (id, sealed) values (1, $1) on conflict (id) do nothing";
    on_conn!(conn, |c| {
        sqlx::query(INSERT).bind(sealed).execute(c).await?;
    });
    Ok(())
}

/// Records another key.
pub async fn replace(conn: Conn<'_>, sealed: &SealedSecret) -> Result<(), StoreError> {
    const REPLACE: &str = "insert into seal_check (id, sealed) values (1, $1) \
        on conflict (id) do update set sealed = excluded.sealed";
    on_conn!(conn, |c| {
        sqlx::query(REPLACE).bind(sealed).execute(c).await?;
    });
    Ok(())
}

/// Some stored secrets, for a database whose key was not recorded. None if the database is not migrated yet.
pub async fn samples(conn: Conn<'_>) -> Result<Vec<SealedSecret>, StoreError> {
    const SAMPLES: &str = "select '\"sealed\":\"' || secret || '\"' from webhook_endpoints \
        union all select definition from tools where definition like '%\"sealed\":\"%' \
        union all select rules from calendars where rules like '%\"sealed\":\"%' limit 100";
    let rows: Result<Vec<(String,)>, sqlx::Error> =
        on_conn!(conn, |c| sqlx::query_as(SAMPLES).fetch_all(c).await);
    let rows = unless_missing(rows)?.unwrap_or_default();
    let sealed = rows.iter().flat_map(|(text,)| text.split(SEALED).skip(1));
    let sealed = sealed.filter_map(|rest| rest.split('"').next()).take(MAX_SAMPLES);
    Ok(sealed.map(|text| SealedSecret::from_stored(text.to_owned())).collect())
}

/// `None` if the table does not exist.
fn unless_missing<T>(rows: Result<T, sqlx::Error>) -> Result<Option<T>, StoreError> {
    match rows {
        Ok(rows) => Ok(Some(rows)),
        Err(sqlx::Error::Database(error)) if is_missing_table(error.as_ref()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
