//! API keys, which an operator creates, lists and revokes.

use std::time::Duration;

use crate::domain::account::Scope;
use crate::domain::api_key::{ApiKey, KeySecret};
use crate::domain::clock::Clock;
use crate::domain::ids::{IdGenerator, KeyId, WorkspaceId};
use crate::store::{Db, StoreError, Tenant, keys, workspaces};

const MAX_NAME: usize = 200;

/// Why a key was not created, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("there is no workspace \"{0}\"")]
    UnknownWorkspace(String),
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    #[error("a key's name has 1 to {MAX_NAME} characters")]
    InvalidName,
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

/// Creates a key. Only the caller gets the secret; it is not stored.
pub async fn create(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    request: CreateKey,
) -> Result<(KeySecret, ApiKey), KeysError> {
    let name = request.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains('\0') {
        return Err(KeysError::InvalidName);
    }
    let workspace = find_workspace(db, &request.workspace).await?;
    let secret = KeySecret::new(ids.bytes());
    let mut key = build_key(clock, ids, workspace, name, &secret);
    key.scopes = if request.scopes.is_empty() { Scope::DEFAULT.to_vec() } else { request.scopes };
    key.expires_at = request.expires_in.map(|duration| key.created_at.plus(duration));
    db.write(workspace, async |conn| keys::insert(conn, &key, secret.hash()).await).await?;
    Ok((secret, key))
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
    }
}

/// The keys of the workspace with this slug, or of all workspaces, each with its workspace's slug.
pub async fn list(db: &Db, slug: Option<&str>) -> Result<Vec<(String, ApiKey)>, KeysError> {
    let workspace = match slug {
        Some(slug) => Some(find_workspace(db, slug).await?),
        None => None,
    };
    Ok(db.read(Tenant::Process, async |conn| keys::list(conn, workspace).await).await?)
}

/// Revokes a key. Within five seconds every process rejects it. Revoking it again changes nothing.
pub async fn revoke(db: &Db, clock: &dyn Clock, id: KeyId) -> Result<(), KeysError> {
    let is_known = db.write(Tenant::Process, async |conn| keys::revoke(conn, id, clock.now()).await).await?;
    if is_known { Ok(()) } else { Err(KeysError::UnknownKey(id)) }
}

async fn find_workspace(db: &Db, slug: &str) -> Result<WorkspaceId, KeysError> {
    let found = db.read(Tenant::Process, async |conn| workspaces::find_by_slug(conn, slug).await).await?;
    Ok(found.ok_or_else(|| KeysError::UnknownWorkspace(slug.to_owned()))?.id)
}
