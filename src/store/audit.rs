//! The audit log. Entries are written in the transaction of the change that they tell of.

use std::time::Duration;

use serde_json::Value;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{
    Conn, PageRow, PageRows, ReadLimit, StoreError, from_row, on_conn, page_condition, page_end, page_start,
};
use crate::domain::audit::{AuditEntry, AuditFilter, StoredAuditEntry};
use crate::domain::clock::Micros;
use crate::domain::ids::{AuditId, uuid_v7_floor};
use crate::domain::string_enum::UnknownVariant;

/// How far the time in the id of an entry may be from that of the entry, which is taken before or after it.
const ID_TOLERANCE: Duration = Duration::from_mins(1);

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
        let query = query.bind(object.kind.as_str()).bind(&object.id).bind(&object.name);
        query.bind(fields(before)).bind(fields(after)).execute(c).await?;
    });
    Ok(())
}

/// Replaces the `after` of an entry about work that goes on.
pub async fn update_after(conn: Conn<'_>, id: AuditId, after: &Value) -> Result<(), StoreError> {
    const UPDATE: &str = "update audit_log set fields_after = $2 where id = $1";
    on_conn!(conn, |c| {
        sqlx::query(UPDATE).bind(id).bind(after.to_string()).execute(c).await?;
    });
    Ok(())
}

from_row!(StoredAuditEntry, |row| Self {
    id: row.try_get("id")?,
    workspace: row.try_get("workspace_id")?,
    created_at: row.try_get("created_at")?,
    actor_kind: parse(row.try_get("actor_kind")?)?,
    actor_id: row.try_get("actor_id")?,
    actor_name: row.try_get("actor_name")?,
    route: row.try_get("route")?,
    address: row.try_get("address")?,
    request_id: row.try_get("request_id")?,
    action: parse(row.try_get("action")?)?,
    object_kind: parse(row.try_get("object_kind")?)?,
    object_id: row.try_get("object_id")?,
    object_name: row.try_get("object_name")?,
    before: row.try_get("fields_before")?,
    after: row.try_get("fields_after")?,
});

fn parse<T: std::str::FromStr<Err = UnknownVariant>>(word: &str) -> Result<T, sqlx::Error> {
    word.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The newest entries before an id, the newest first. The ids of entries increase with the time.
pub async fn list_before(
    conn: Conn<'_>,
    filter: &AuditFilter,
    before: Option<AuditId>,
    limit: ReadLimit,
) -> Result<PageRows<StoredAuditEntry>, StoreError> {
    let before = before.unwrap_or(AuditId(Uuid::max()));
    let rows: Vec<PageRow<StoredAuditEntry>> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(concat!(
            "select audit_log.*, page.candidates from ",
            page_start!(),
            "select id as page_id, coalesce(octet_length(fields_before), 0) \
             + coalesce(octet_length(fields_after), 0) as row_size from audit_log where id < "
        ));
        query.push_bind(before);
        if let Some(workspace) = filter.workspace {
            query.push(" and workspace_id = ").push_bind(workspace);
        }
        if let Some(actor) = &filter.actor {
            query.push(" and actor_id = ").push_bind(actor);
        }
        if let Some(action) = filter.action {
            query.push(" and action = ").push_bind(action.as_str());
        }
        if let Some(kind) = filter.object_kind {
            query.push(" and object_kind = ").push_bind(kind.as_str());
        }
        if let Some(id) = &filter.object_id {
            query.push(" and object_id = ").push_bind(id);
        }
        // The ids bound what is read.
        if let Some(after) = filter.created.after {
            query.push(" and created_at >= ").push_bind(after);
            query.push(" and id >= ").push_bind(AuditId(uuid_v7_floor(after.minus(ID_TOLERANCE))));
        }
        if let Some(before) = filter.created.before {
            query.push(" and created_at < ").push_bind(before);
            query.push(" and id < ").push_bind(AuditId(uuid_v7_floor(before.plus(ID_TOLERANCE))));
        }
        query.push(" order by id desc limit ").push_bind(limit.candidates());
        query.push(page_condition!("page_id desc"));
        query.push("nth <= ").push_bind(limit.rows).push(" and (bytes <= ").push_bind(limit.bytes);
        query.push(" or nth = 1)").push(page_end!());
        query.push(" join audit_log on audit_log.id = page_id order by page_id desc");
        query.build_query_as().persistent(false).fetch_all(c).await?
    });
    Ok(rows.into())
}

/// Removes the addresses of at most `limit` entries from before a time. Returns how many were removed.
pub async fn remove_addresses(conn: Conn<'_>, before: Micros, limit: i64) -> Result<u64, StoreError> {
    const REMOVE: &str = "update audit_log set address = null where id in (select id from audit_log \
        where address is not null and created_at < $1 order by created_at limit $2)";
    Ok(on_conn!(conn, |c| sqlx::query(REMOVE).bind(before).bind(limit).execute(c).await?.rows_affected()))
}
