//! Reads resources of a workspace: one by its id, or all page by page.

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::ResourceId as _;
use crate::store::Conn;
use crate::store::resource;
pub use crate::store::resource::Resource;

/// The resource of the account's workspace with this id, as it was sent.
pub async fn find<R: Resource>(services: &Services, account: &Account, name: &str) -> Result<R, Error> {
    let id = R::Id::parse(name)?;
    let read = async |conn: Conn<'_>| resource::find(conn, account.workspace, id).await;
    services.db.read(account.workspace, read).await?.ok_or_else(|| R::Id::not_found(name))
}

/// At most `limit` resources after one, the oldest first.
pub async fn list<R: Resource>(
    services: &Services,
    account: &Account,
    after: Option<R::Id>,
    limit: usize,
) -> Result<Page<R, R::Id>, Error> {
    let read = async |conn: Conn<'_>, limit| resource::list(conn, account.workspace, after, limit).await;
    Page::read_within_bytes(&services.db, account.workspace, limit, read, R::id).await
}
