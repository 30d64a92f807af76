//! The events of a workspace, page by page, in the order in which they became true.

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::store::{Conn, events};

/// At most `limit` events after a cursor (0: from the oldest kept), in order.
pub async fn list(
    services: &Services,
    account: &Account,
    after: i64,
    limit: usize,
) -> Result<Vec<Event>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = async |conn: Conn<'_>| events::list_after(conn, account.workspace, after, limit).await;
    Ok(services.db.reading(read).await?)
}
