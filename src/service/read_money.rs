//! A workspace's balance, and its ledger.

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ledger::LedgerEntry;
use crate::domain::money::Money;
use crate::store::{Conn, ledger, workspaces};

/// The current balance.
pub async fn balance(services: &Services, account: &Account) -> Result<Money, Error> {
    let found = services.db.read(async |conn| workspaces::balance(conn, account.workspace).await).await?;
    Ok(found.unwrap_or_default())
}

/// At most `limit` entries after a number (0: from the first), the oldest first.
pub async fn list_entries(
    services: &Services,
    account: &Account,
    after: i64,
    limit: usize,
) -> Result<Page<LedgerEntry, i64>, Error> {
    let fetch_limit = page::fetch_limit(limit);
    let read = async |conn: Conn<'_>| ledger::list_after(conn, account.workspace, after, fetch_limit).await;
    let found = services.db.read(read).await?;
    Ok(Page::from_rows(found, limit, |entry| entry.number))
}
