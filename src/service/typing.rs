//! A person types in a conversation. The notice is no event: it is a row that counts for a few seconds, and that each process reads
//! while visitors follow conversations there.

use std::time::Duration;

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _};
use crate::store::{Conn, StoreError, Tenant, conversations, typing};

/// How long a notice counts.
const LIFETIME: Duration = Duration::from_secs(10);

/// Records whether a person types in the conversation of the account's workspace with this id, as it was sent.
pub async fn set(services: &Services, account: &Account, name: &str, is_typing: bool) -> Result<(), Error> {
    let (id, workspace, clock) = (ConversationId::parse(name)?, account.workspace, services.clock.as_ref());
    let write = async |mut conn: Conn<'_>| {
        if conversations::find(conn.reborrow(), workspace, id).await?.is_none() {
            return Ok(false);
        }
        if is_typing {
            typing::put(conn, workspace, id, clock).await?;
        } else {
            typing::remove(conn, workspace, id).await?;
        }
        Ok(true)
    };
    if services.db.write(workspace, write).await? { Ok(()) } else { Err(ConversationId::not_found(name)) }
}

/// Reads in which of the followed conversations a person types.
pub(super) async fn poll(services: &Services) -> Result<(), Error> {
    let links = services.followers.links();
    if links.is_empty() {
        return Ok(());
    }
    let clock = services.clock.as_ref();
    let list = async |conn: Conn<'_>| typing::list(conn, &links, LIFETIME, clock).await;
    let typed = services.db.control_read(list).await?;
    services.followers.set_typing(&links, &typed.into_iter().collect());
    Ok(())
}

/// Removes the notices that do not count any more.
pub async fn sweep(services: &Services) -> Result<(), StoreError> {
    let clock = services.clock.as_ref();
    let sweep = async |conn: Conn<'_>| typing::sweep(conn, LIFETIME, clock).await;
    services.db.write(Tenant::Process, sweep).await
}
