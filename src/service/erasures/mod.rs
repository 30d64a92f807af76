//! Erasures: a conversation, or all those of a person, are deleted with everything that is stored of them; a booking loses its content. A
//! request only accepts one; [`work`] carries it out.

mod appointments;
pub mod work;

use std::sync::Arc;

use super::write_error::write_error;
use super::{Services, calendars, current_key};
use crate::domain::account::Account;
use crate::domain::audit::Actor;
use crate::domain::erasure::{Erasure, ErasureReason, ErasureTarget, NewErasure, Person};
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, ConversationId, ErasureId, ResourceId as _, WorkspaceId};
use crate::store::{Conn, StoreError, erasures, workspaces};
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
    services.db.read(account.workspace, async |conn| check(conn, services, account).await).await??;
    let target = ErasureTarget::Conversation(conversation);
    let erasure = new_erasure(services, account.workspace, ErasureReason::Request, target);
    let command = DeleteConversation { conversation, erasure, actor: Arc::clone(&account.actor) };
    let erasure = services.writer.execute(command).await?;
    services.erasures_changed.notify_one();
    Ok(erasure)
}

/// Removes the content of a booking, by its id and that of its calendar, as they were sent. If it is to come, it is cancelled.
pub async fn erase_booking(
    services: &Services,
    account: &Account,
    calendar: &str,
    name: &str,
) -> Result<Erasure, Error> {
    let (calendar, booking) = calendars::find_booking(services, account, calendar, name).await?;
    accept(services, account, ErasureTarget::Booking(calendar.id, booking.id)).await
}

/// Deletes all conversations of a person that exist now.
pub async fn erase_person(services: &Services, account: &Account, person: Person) -> Result<Erasure, Error> {
    accept(services, account, ErasureTarget::Person { person, scanned: None }).await
}

async fn accept(services: &Services, account: &Account, target: ErasureTarget) -> Result<Erasure, Error> {
    let erasure = new_erasure(services, account.workspace, ErasureReason::Request, target);
    let write = async |mut conn: Conn<'_>| {
        // A revocation of the key takes the same lock.
        workspaces::lock(conn.reborrow(), &[account.workspace].into()).await?;
        if let Err(error) = check(conn.reborrow(), services, account).await? {
            return Ok(Err(error));
        }
        insert(conn, services, &erasure, &account.actor).await.map(Ok)
    };
    services.db.write(account.workspace, write).await.map_err(write_error)??;
    services.erasures_changed.notify_one();
    Ok(Erasure::new(&erasure))
}

/// Stores an erasure of inactive conversations, which are yet to be marked.
pub async fn store(services: &Services, erasure: &NewErasure) -> Result<(), StoreError> {
    let insert = async |conn: Conn<'_>| insert(conn, services, erasure, &Actor::server()).await;
    services.db.write(erasure.workspace, insert).await?;
    services.erasures_changed.notify_one();
    Ok(())
}

async fn insert(
    conn: Conn<'_>,
    services: &Services,
    erasure: &NewErasure,
    actor: &Actor,
) -> Result<(), StoreError> {
    let entry = AuditId(services.ids.uuid_v7(services.clock.as_ref()));
    erasures::insert(conn, erasure, actor, entry).await
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

/// Refuses a key that is not valid any more, as an erasure cannot be undone; and another erasure while too many are running, which bounds
/// what waits for the worker.
async fn check(
    mut conn: Conn<'_>,
    services: &Services,
    account: &Account,
) -> Result<Result<(), Error>, StoreError> {
    if let Err(error) = current_key::read(conn.reborrow(), services.clock.as_ref(), account).await? {
        return Ok(Err(error));
    }
    if erasures::count_running(conn, account.workspace, MAX_RUNNING).await? < MAX_RUNNING {
        return Ok(Ok(()));
    }
    let text = "Too many erasures are running";
    Ok(Err(Error::Overloaded { text, retry_after: RETRY_AFTER }))
}
