//! Transactions and read connections.

use sqlx::{Postgres, Sqlite};

use super::{Conn, PooledConnection, StoreError};

/// A transaction. Dropping it rolls it back.
#[derive(Debug)]
pub enum Tx {
    Postgres(PooledConnection<Postgres>),
    Sqlite(PooledConnection<Sqlite>),
}

impl Tx {
    /// The connection to run statements on.
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn.conn()),
            Self::Sqlite(conn) => Conn::Sqlite(conn.conn()),
        }
    }

    /// A statement has committed the transaction.
    pub(super) fn set_committed(&mut self) {
        match self {
            Self::Postgres(conn) => conn.set_done(),
            Self::Sqlite(conn) => conn.set_done(),
        }
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// After any error the outcome is unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(conn) => conn.commit().await?,
            Self::Sqlite(conn) => conn.commit().await?,
        }
        Ok(())
    }
}

/// A connection for reads, behind a transaction pooler in a transaction.
#[derive(Debug)]
pub enum ReadConnection {
    Postgres(PooledConnection<Postgres>),
    Sqlite(PooledConnection<Sqlite>),
}

impl ReadConnection {
    /// The connection to run statements on.
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn.conn()),
            Self::Sqlite(conn) => Conn::Sqlite(conn.conn()),
        }
    }

    /// All statements have ended.
    pub(super) async fn finish(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(conn) => conn.finish().await?,
            Self::Sqlite(conn) => conn.finish().await?,
        }
        Ok(())
    }
}
