//! A workspace's balance, and its ledger.

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ledger::LedgerEntry;
use crate::domain::money::Money;
use crate::store::{Conn, ledger, workspaces};

/// The current balance.
pub async fn balance(services: &Services, account: &Account) -> Result<Money, Error> {
    let workspace = account.workspace;
    let found = services.db.read(workspace, async |conn| workspaces::balance(conn, workspace).await).await?;
    Ok(found.unwrap_or_default())
}

/// At most `limit` entries after a number (0: from the first), the oldest first.
pub async fn list_entries(
    services: &Services,
    account: &Account,
    after: i64,
    limit: usize,
) -> Result<Page<LedgerEntry, i64>, Error> {
    let read = async |conn: Conn<'_>, rows| ledger::list_after(conn, account.workspace, after, rows).await;
    Page::read(&services.db, account.workspace, limit, read, |entry| entry.number).await
}
