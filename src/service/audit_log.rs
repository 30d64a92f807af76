//! The audit log: entries are written with the changes that they tell of, and read page by page, the newest first.

use super::Services;
use super::page::Page;
use crate::domain::audit::{
    Actor, AuditAction, AuditEntry, AuditFilter, AuditObject, ObjectKind, StoredAuditEntry,
};
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, IdGenerator};
use crate::store::{Conn, StoreError, Tenant, audit};

/// Adds an entry within the transaction of its change.
pub(super) async fn record(
    conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    entry: &AuditEntry<'_>,
) -> Result<(), StoreError> {
    audit::insert(conn, AuditId(ids.uuid_v7(clock)), clock.now(), entry).await
}

/// At most `limit` entries before one, or fewer if they are large.
pub async fn list(
    services: &Services,
    filter: &AuditFilter,
    before: Option<AuditId>,
    limit: usize,
) -> Result<Page<StoredAuditEntry, AuditId>, Error> {
    let tenant = filter.workspace.map_or(Tenant::Process, Tenant::from);
    let read = async |conn: Conn<'_>, limit| audit::list_before(conn, filter, before, limit).await;
    Page::read_within_bytes(&services.db, tenant, limit, read, |entry| entry.id).await
}

/// Records that the log is exported, before that begins.
pub async fn record_export(services: &Services, filter: &AuditFilter, actor: &Actor) -> Result<(), Error> {
    let object = AuditObject::new(
        ObjectKind::AuditLog,
        filter.workspace.map_or("all".to_owned(), |id| id.to_string()),
        None,
    );
    let entry = match filter.workspace {
        Some(workspace) => AuditEntry::new(workspace, actor, AuditAction::Exported, object),
        None => AuditEntry::of_server(actor, AuditAction::Exported, object),
    };
    let tenant = filter.workspace.map_or(Tenant::Process, Tenant::from);
    let write = async |conn: Conn<'_>| record(conn, services.clock.as_ref(), &services.ids, &entry).await;
    Ok(services.db.write(tenant, write).await?)
}
