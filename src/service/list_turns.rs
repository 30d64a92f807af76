//! The turns of a workspace, page by page.

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::TurnId;
use crate::domain::turn::{Turn, TurnFilter};
use crate::store::Conn;
use crate::store::turns::list;

/// At most `limit` turns that match, or fewer if they are rare, the newest first.
pub async fn list(
    services: &Services,
    account: &Account,
    filter: &TurnFilter,
    limit: usize,
) -> Result<Page<Turn, TurnId>, Error> {
    let workspace = account.workspace;
    let read = async |conn: Conn<'_>| list::list(conn, workspace, filter, limit).await;
    let page = services.db.read(workspace, read).await?;
    Ok(Page { items: page.rows, next: page.next })
}
