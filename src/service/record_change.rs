//! Records changes in the audit log.

use super::Services;
use crate::domain::audit::AuditEntry;
use crate::domain::ids::AuditId;
use crate::store::{Conn, StoreError, audit};

/// Adds an entry, in the transaction of the change.
pub(super) async fn record_change(
    services: &Services,
    conn: Conn<'_>,
    entry: &AuditEntry<'_>,
) -> Result<(), StoreError> {
    let id = AuditId(services.ids.uuid_v7(services.clock.as_ref()));
    audit::insert(conn, id, services.clock.now(), entry).await
}
