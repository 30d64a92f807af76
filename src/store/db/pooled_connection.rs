//! A connection on loan from its pool: given back soon after its use, or closed, whatever the network or the disk does.
//! A pool of PostgreSQL would wait for a connection that never answers, and be smaller for ever. SQLite ends a transaction
//! by itself where its file cannot be written; sqlx, which counts its own, would never begin another on that connection.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor, Pool};
use tokio::runtime::Handle;

/// How long a connection has to show that it lives.
pub(super) const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection of the pool.
#[derive(Debug)]
pub struct PooledConnection<D: Database> {
    conn: PoolConnection<D>,
    /// A transaction that was begun and not ended: its connection is of no further use.
    in_transaction: bool,
}

impl<D: Database> PooledConnection<D> {
    /// Waits for a connection, as long as the pool lets its callers wait.
    pub(super) async fn acquire(pool: &Pool<D>) -> Result<Self, sqlx::Error> {
        Ok(Self { conn: pool.acquire().await?, in_transaction: false })
    }

    /// The connection that statements run on.
    pub fn conn(&mut self) -> &mut D::Connection {
        &mut self.conn
    }
}

impl<D: Database> PooledConnection<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    /// Begins a transaction by these statements; where it is never ended, the connection is closed.
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
        // A statement that was given up may still be under way: it is waited for, but not for long.
        let release = tokio::time::timeout(HEALTH_CHECK_TIMEOUT, self.conn.return_to_pool());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(release);
        }
    }
}
