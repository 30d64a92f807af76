//! A writing transaction, and a connection to read with.

use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Sqlite};

use super::{Conn, PooledConnection, StoreError};

/// A transaction; rolled back where it is dropped.
#[derive(Debug)]
pub enum Tx {
    Postgres(PooledConnection<Postgres>),
    Sqlite(PooledConnection<Sqlite>),
}

impl Tx {
    /// The connection that its statements run on.
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn.conn()),
            Self::Sqlite(conn) => Conn::Sqlite(conn.conn()),
        }
    }

    /// Makes it durable. An error leaves the outcome unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(conn) => conn.commit().await?,
            Self::Sqlite(conn) => conn.commit().await?,
        }
        Ok(())
    }
}

/// A connection to read with.
#[derive(Debug)]
pub enum ReadConnection {
    Postgres(PooledConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

impl ReadConnection {
    /// The connection that its statements run on.
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(conn) => Conn::Postgres(conn.conn()),
            Self::Sqlite(conn) => Conn::Sqlite(conn),
        }
    }
}
