//! Erasures: a conversation, or all those of a person, are deleted with everything that is stored of them. A request only accepts one;
//! [`work`] carries it out.

mod appointments;
pub mod work;

use std::sync::Arc;

use super::Services;
use super::current_key;
use super::write_error::write_error;
use crate::domain::account::Account;
use crate::domain::audit::Actor;
use crate::domain::erasure::{Erasure, ErasureReason, ErasureTarget, NewErasure, Person};
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, ConversationId, ErasureId, ResourceId as _, WorkspaceId};
use crate::store::{Conn, StoreError, erasures};
use crate::writer::DeleteConversation;

/// How many erasures of a workspace may run at once.
const MAX_RUNNING: i64 = 1000;
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

/// Deletes the conversation with this id, as it was sent.
pub async fn erase_conversation(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<Erasure, Error> {
    let conversation = ConversationId::parse(name)?;
    check_running(services, account).await?;
    let target = ErasureTarget::Conversation(conversation);
    let erasure = new_erasure(services, account.workspace, ErasureReason::Request, target);
    let command = DeleteConversation { conversation, erasure, actor: Arc::clone(&account.actor) };
    services.writer.execute(command).await
}

/// Deletes all conversations of a person that exist now.
pub async fn erase_person(services: &Services, account: &Account, person: Person) -> Result<Erasure, Error> {
    check_running(services, account).await?;
    let target = ErasureTarget::Person { person, scanned: None };
    let erasure = new_erasure(services, account.workspace, ErasureReason::Request, target);
    store(services, &erasure, &account.actor).await.map_err(write_error)?;
    Ok(Erasure::new(&erasure))
}

/// Stores an erasure of conversations that are yet to be marked.
pub async fn store(services: &Services, erasure: &NewErasure, actor: &Actor) -> Result<(), StoreError> {
    let entry = AuditId(services.ids.uuid_v7(services.clock.as_ref()));
    let insert = async |conn: Conn<'_>| erasures::insert(conn, erasure, actor, entry).await;
    services.db.write(erasure.workspace, insert).await
}

/// A new erasure.
#[must_use]
pub fn new_erasure(
    services: &Services,
    workspace: WorkspaceId,
    reason: ErasureReason,
    target: ErasureTarget,
) -> NewErasure {
    let id = ErasureId(services.ids.uuid_v7(services.clock.as_ref()));
    NewErasure { workspace, id, reason, target, created_at: services.clock.now() }
}

/// Refuses another erasure while too many are running, which bounds what waits for the worker; and a key that is not valid any more, as
/// an erasure cannot be undone.
async fn check_running(services: &Services, account: &Account) -> Result<(), Error> {
    let clock = services.clock.as_ref();
    let count = async |mut conn: Conn<'_>| {
        let key = current_key::read(conn.reborrow(), clock, account).await?;
        Ok((key, erasures::count_running(conn, account.workspace, MAX_RUNNING).await?))
    };
    let (key, count) = services.db.read(account.workspace, count).await?;
    key?;
    if count < MAX_RUNNING {
        return Ok(());
    }
    let text = "Too many erasures are running";
    Err(Error::Overloaded { text, retry_after: RETRY_AFTER })
}
