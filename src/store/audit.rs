//! The audit log. Entries are written in the transaction of the change that they tell of.

use serde_json::Value;

use super::{Conn, StoreError, on_conn};
use crate::domain::audit::AuditEntry;
use crate::domain::clock::Micros;
use crate::domain::ids::AuditId;

/// Adds an entry.
pub async fn insert(
    conn: Conn<'_>,
    id: AuditId,
    now: Micros,
    entry: &AuditEntry<'_>,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into audit_log (id, workspace_id, created_at, actor_kind, actor_id, actor_name, \
        route, address, request_id, action, object_kind, object_id, object_name, fields_before, fields_after) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let AuditEntry { workspace, actor, action, object, before, after } = entry;
    let origin = actor.origin.as_ref();
    let address = origin.and_then(|origin| origin.address).map(|address| address.to_string());
    let fields = |value: &Value| (!value.is_null()).then(|| value.to_string());
    on_conn!(conn, |c| {
        let query = sqlx::query(INSERT).bind(id).bind(workspace).bind(now);
        let query = query.bind(actor.kind.as_str()).bind(&actor.id).bind(&actor.name);
        let query = query.bind(origin.map(|origin| origin.route.as_str())).bind(address);
        let query = query.bind(origin.map(|origin| origin.request_id.as_str())).bind(action.as_str());
        let query = query.bind(object.kind).bind(&object.id).bind(&object.name);
        query.bind(fields(before)).bind(fields(after)).execute(c).await?;
    });
    Ok(())
}
