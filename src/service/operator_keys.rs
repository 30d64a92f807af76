//! Keys of the operator's API, which the command line creates, lists and revokes.

use std::time::Duration;

use serde_json::{Value, json};

use super::audit_log;
use super::keys::check_name;
use crate::domain::api_key::{KeySecret, MAX_KEY_NAME, OperatorKey};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Clock;
use crate::domain::ids::{IdGenerator, OperatorKeyId};
use crate::store::{Conn, Db, StoreError, Tenant, operator_keys};

/// Why a key was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeysError {
    #[error("there is no operator's key {0}")]
    UnknownKey(OperatorKeyId),
    #[error("a key's name has 1 to {MAX_KEY_NAME} characters")]
    InvalidName,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a key. Only the caller gets the secret; it is not stored. `expires_in`: `None` means never.
pub async fn create(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    name: &str,
    expires_in: Option<Duration>,
) -> Result<(KeySecret, OperatorKey), OperatorKeysError> {
    let name = check_name(name).ok_or(OperatorKeysError::InvalidName)?;
    let secret = KeySecret::new_operator(ids.bytes());
    let now = clock.now();
    let key = OperatorKey {
        id: OperatorKeyId(ids.uuid_v7(clock)),
        name: name.to_owned(),
        prefix: secret.prefix(),
        created_at: now,
        expires_at: expires_in.map(|duration| now.plus(duration)),
        revoked_at: None,
        last_used_at: None,
    };
    let actor = Actor::command("rejoinder operator keys create");
    let write = async |mut conn: Conn<'_>| {
        operator_keys::insert(conn.reborrow(), &key, secret.hash()).await?;
        let entry = AuditEntry::of_server(&actor, AuditAction::Created, audit_object(&key));
        let entry = entry.with_changes(Value::Null, audit_fields(&key));
        audit_log::record(conn, clock, ids, &entry).await
    };
    db.write(Tenant::Process, write).await?;
    Ok((secret, key))
}

/// All keys, the oldest first.
pub async fn list(db: &Db) -> Result<Vec<OperatorKey>, OperatorKeysError> {
    Ok(db.read(Tenant::Process, operator_keys::list).await?)
}

/// Revokes a key. Within five seconds every process rejects it. Revoking it again changes nothing.
pub async fn revoke(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    id: OperatorKeyId,
) -> Result<(), OperatorKeysError> {
    let actor = Actor::command("rejoinder operator keys revoke");
    let write = async |mut conn: Conn<'_>| {
        let Some(mut key) = operator_keys::find_by_id(conn.reborrow(), id).await? else { return Ok(false) };
        let now = clock.now();
        if operator_keys::revoke(conn.reborrow(), id, now).await? {
            let before = audit_fields(&key);
            key.revoked_at = Some(now);
            let entry = AuditEntry::of_server(&actor, AuditAction::Revoked, audit_object(&key));
            let entry = entry.with_changes(before, audit_fields(&key));
            audit_log::record(conn, clock, ids, &entry).await?;
        }
        Ok(true)
    };
    let is_known = db.write(Tenant::Process, write).await?;
    if is_known { Ok(()) } else { Err(OperatorKeysError::UnknownKey(id)) }
}

fn audit_object(key: &OperatorKey) -> AuditObject {
    AuditObject::new(ObjectKind::OperatorKey, key.id, Some(&key.name))
}

fn audit_fields(key: &OperatorKey) -> Value {
    json!({
        "name": key.name,
        "prefix": key.prefix,
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
    })
}
