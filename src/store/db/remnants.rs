//! Remnants of deleted rows in the files of an SQLite database. On PostgreSQL vacuum and the archive of the write-ahead log are the
//! operator's.

use super::{Db, Pools, StoreError};
use sqlx::Sqlite;

/// The size up to which the whole file is written anew. A larger one would keep the writer waiting for too long.
const MAX_REWRITTEN: i64 = 64 << 20;

impl Db {
    /// Removes what deleted rows have left behind in the files of an SQLite database: copies in the free space of pages, for
    /// `secure_delete` clears the row and not what was moved when pages were split, and the write-ahead log. A file above 64 MiB is
    /// not written anew. Returns false if a reader is in the way of the log; the caller tries again.
    pub async fn remove_remnants(&self) -> Result<bool, StoreError> {
        match self {
            Self::Postgres(_) => Ok(true),
            Self::Sqlite(pools) => remove(pools).await,
        }
    }
}

async fn remove(pools: &Pools<Sqlite>) -> Result<bool, StoreError> {
    const SIZE: &str = "select page_count * page_size from pragma_page_count, pragma_page_size";
    const HAS_INDEX: &str = "select count(*) from sqlite_schema where name = 'message_search'";
    const MERGE_INDEX: &str = "insert into message_search (message_search) values ('optimize')";
    // Requests wait for the writer meanwhile, so readers are not waited for.
    const IMPATIENT: &str = "pragma busy_timeout = 100";
    const PATIENT: &str = "pragma busy_timeout = 5000";
    let mut conn = pools.write.acquire().await?;
    let (size,): (i64,) = sqlx::query_as(SIZE).fetch_one(conn.conn()).await?;
    if size <= MAX_REWRITTEN {
        // A contentless index knows which rows were deleted, and forgets their terms only when its segments are merged.
        let (has_index,): (i64,) = sqlx::query_as(HAS_INDEX).fetch_one(conn.conn()).await?;
        if has_index > 0 {
            sqlx::raw_sql(MERGE_INDEX).execute(conn.conn()).await?;
        }
        sqlx::raw_sql("vacuum").execute(conn.conn()).await?;
    }
    sqlx::raw_sql(IMPATIENT).execute(conn.conn()).await?;
    let truncated = sqlx::query_as("pragma wal_checkpoint(truncate)").fetch_one(conn.conn()).await;
    sqlx::raw_sql(PATIENT).execute(conn.conn()).await?;
    conn.set_done();
    let (is_busy, _, _): (i64, i64, i64) = truncated?;
    Ok(is_busy == 0)
}
