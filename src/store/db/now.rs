//! The clock that all processes of a database share.

use super::{Conn, StoreError};
use crate::domain::clock::{Clock, Micros};

/// The current time: by the clock of the PostgreSQL server, or of this process on SQLite.
pub async fn store_now(conn: Conn<'_>, clock: &dyn Clock) -> Result<Micros, StoreError> {
    match conn {
        Conn::Postgres(c) => {
            let (now,): (Micros,) = sqlx::query_as("select store_now()").fetch_one(c).await?;
            Ok(now)
        }
        Conn::Sqlite(_) => Ok(clock.now()),
    }
}
