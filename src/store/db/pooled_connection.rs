//! A connection of a pool that is returned promptly or closed, even if the network or the disk fails.
//!
//! A plain sqlx pool would wait forever for a PostgreSQL connection that never answers, and shrink. SQLite ends a transaction
//! by itself when it cannot write its file; sqlx counts transactions and would never begin another on that connection.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor, Pool};
use tokio::runtime::Handle;

/// How long a connection may take to answer a ping.
pub(super) const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection of the pool.
#[derive(Debug)]
pub struct PooledConnection<D: Database> {
    conn: PoolConnection<D>,
    /// A transaction has begun and not ended. Dropping the connection then closes it.
    in_transaction: bool,
}

impl<D: Database> PooledConnection<D> {
    /// Waits for a connection up to the timeout of the pool.
    pub(super) async fn acquire(pool: &Pool<D>) -> Result<Self, sqlx::Error> {
        Ok(Self { conn: pool.acquire().await?, in_transaction: false })
    }

    /// The connection to run statements on.
    pub fn conn(&mut self) -> &mut D::Connection {
        &mut self.conn
    }
}

impl<D: Database> PooledConnection<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    /// Begins a transaction with these statements.
    pub(super) async fn begin(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        sqlx::raw_sql(statements).execute(self.conn()).await?;
        Ok(())
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("commit").execute(self.conn()).await?;
        self.in_transaction = false;
        Ok(())
    }
}

impl<D: Database> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        if self.in_transaction {
            self.conn.close_on_drop();
            return;
        }
        // An abandoned statement may still be running. Returning the connection waits for it, briefly.
        let release = tokio::time::timeout(HEALTH_CHECK_TIMEOUT, self.conn.return_to_pool());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(release);
        }
    }
}
