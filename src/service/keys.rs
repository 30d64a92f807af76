//! API keys, which an operator creates, lists and revokes from the command line, and what the API has in common with that.

use std::time::Duration;

use serde_json::{Value, json};

use super::audit_log;
use crate::domain::account::{KeyHash, Scope};
use crate::domain::api_key::{ApiKey, KeySecret, MAX_KEY_NAME};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Clock;
use crate::domain::ids::{IdGenerator, KeyId, WorkspaceId};
use crate::store::{Conn, Db, StoreError, Tenant, keys, workspaces};

/// Why a key was not created, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("there is no workspace \"{0}\"")]
    UnknownWorkspace(String),
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    #[error("a key's name has 1 to {MAX_KEY_NAME} characters")]
    InvalidName,
    #[error("the workspace has {MAX_VALID_KEYS} keys already; revoke one first")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request for a new key.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// The workspace's slug.
    pub workspace: String,
    pub name: String,
    /// [`Scope::DEFAULT`] if empty.
    pub scopes: Vec<Scope>,
    /// `None` means never.
    pub expires_in: Option<Duration>,
}

/// The most keys of a workspace that are neither revoked nor expired.
pub const MAX_VALID_KEYS: i64 = 100;
/// How many of the others are kept, the newest.
const MAX_INVALID_KEYS: i64 = 100;

/// Creates a key from the command line. Only the caller gets the secret; it is not stored.
pub async fn create(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    request: CreateKey,
) -> Result<(KeySecret, ApiKey), KeysError> {
    let name = check_name(&request.name).ok_or(KeysError::InvalidName)?;
    let workspace = find_workspace(db, &request.workspace).await?;
    let secret = KeySecret::new(ids.bytes());
    let mut key = build_key(clock, ids, workspace, name, &secret);
    key.scopes = if request.scopes.is_empty() { Scope::DEFAULT.to_vec() } else { request.scopes };
    key.expires_at = request.expires_in.map(|duration| key.created_at.plus(duration));
    let actor = Actor::command("rejoinder keys create");
    let write = async |conn: Conn<'_>| insert(conn, clock, ids, &actor, &key, secret.hash()).await;
    let is_created = db.write(workspace, write).await?;
    if is_created { Ok((secret, key)) } else { Err(KeysError::TooMany) }
}

/// The name of a key, trimmed; none if it is invalid.
pub(super) fn check_name(name: &str) -> Option<&str> {
    let name = name.trim();
    let is_valid = !name.is_empty() && name.chars().count() <= MAX_KEY_NAME && !name.contains('\0');
    is_valid.then_some(name)
}

/// A new key with all scopes that never expires.
pub(super) fn build_key(
    clock: &dyn Clock,
    ids: &IdGenerator,
    workspace: WorkspaceId,
    name: &str,
    secret: &KeySecret,
) -> ApiKey {
    ApiKey {
        id: KeyId(ids.uuid_v7(clock)),
        workspace,
        name: name.to_owned(),
        prefix: secret.prefix(),
        scopes: Scope::ALL.to_vec(),
        created_at: clock.now(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        previous_until: None,
        is_suspended: false,
    }
}

/// Inserts a key under the lock of its workspace, with its entry of the audit log. False if the workspace has as many keys as it may.
pub(super) async fn insert(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    actor: &Actor,
    key: &ApiKey,
    hash: KeyHash,
) -> Result<bool, StoreError> {
    let (workspace, now) = (key.workspace, clock.now());
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    if keys::count_valid(conn.reborrow(), workspace, now).await? >= MAX_VALID_KEYS {
        return Ok(false);
    }
    keys::remove_invalid(conn.reborrow(), workspace, now, MAX_INVALID_KEYS).await?;
    keys::insert(conn.reborrow(), key, hash).await?;
    let entry = AuditEntry::new(workspace, actor, AuditAction::Created, audit_object(key));
    let entry = entry.with_changes(Value::Null, audit_fields(key));
    audit_log::record(conn, clock, ids, &entry).await?;
    Ok(true)
}

/// A key as the object of an entry of the audit log.
pub(super) fn audit_object(key: &ApiKey) -> AuditObject {
    AuditObject::new(ObjectKind::Key, key.id, Some(&key.name))
}

/// The fields of a key in the audit log.
pub(super) fn audit_fields(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
        "previous_secret_until": key.previous_until.map(|at| at.to_string()),
    })
}

/// The keys of the workspace with this slug, or of all workspaces, each with its workspace's slug.
pub async fn list(db: &Db, slug: Option<&str>) -> Result<Vec<(String, ApiKey)>, KeysError> {
    let workspace = match slug {
        Some(slug) => Some(find_workspace(db, slug).await?),
        None => None,
    };
    Ok(db.read(Tenant::Process, async |conn| keys::list(conn, workspace).await).await?)
}

/// Revokes a key from the command line. Within five seconds every process rejects it. Revoking it again changes nothing.
pub async fn revoke(db: &Db, clock: &dyn Clock, ids: &IdGenerator, id: KeyId) -> Result<(), KeysError> {
    let actor = Actor::command("rejoinder keys revoke");
    let write = async |mut conn: Conn<'_>| {
        let Some(found) = keys::find_of_any(conn.reborrow(), id).await? else { return Ok(false) };
        // A change that this key makes meanwhile is finished, or sees the revocation.
        workspaces::lock(conn.reborrow(), &[found.workspace].into()).await?;
        let Some(key) = keys::find_of_any(conn.reborrow(), id).await? else { return Ok(false) };
        revoke_found(conn, clock, ids, &actor, key).await?;
        Ok(true)
    };
    let is_known = db.write(Tenant::Process, write).await?;
    if is_known { Ok(()) } else { Err(KeysError::UnknownKey(id)) }
}

/// Revokes a key that was read in the same transaction, unless it already is, with its entry of the audit log. Returns the key.
pub(super) async fn revoke_found(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    actor: &Actor,
    mut key: ApiKey,
) -> Result<ApiKey, StoreError> {
    let now = clock.now();
    if !keys::revoke(conn.reborrow(), key.id, now).await? {
        return Ok(key);
    }
    let before = audit_fields(&key);
    key.revoked_at = Some(now);
    let entry = AuditEntry::new(key.workspace, actor, AuditAction::Revoked, audit_object(&key));
    let entry = entry.with_changes(before, audit_fields(&key));
    audit_log::record(conn, clock, ids, &entry).await?;
    Ok(key)
}

async fn find_workspace(db: &Db, slug: &str) -> Result<WorkspaceId, KeysError> {
    let found = db.read(Tenant::Process, async |conn| workspaces::find_by_slug(conn, slug).await).await?;
    Ok(found.ok_or_else(|| KeysError::UnknownWorkspace(slug.to_owned()))?.id)
}
