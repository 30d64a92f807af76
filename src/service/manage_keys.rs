//! The keys of a workspace through the API: listed, created, rolled and revoked.
//!
//! A key manages only keys with scopes that it has itself: otherwise one that may make keys could get any scope by rolling a stronger key,
//! or lock its owner out. It may always revoke itself.

use std::time::Duration;

use super::Services;
use super::audit_log;
use super::keys::{MAX_VALID_KEYS, audit_fields, audit_object, build_key, check_name, insert, revoke_found};
use super::page::Page;
use super::write_error::write_error;
use crate::domain::account::{Account, Scope};
use crate::domain::api_key::{ApiKey, KeySecret, MAX_KEY_NAME};
use crate::domain::audit::{Actor, AuditAction, AuditEntry};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{KeyId, ResourceId as _, WorkspaceId};
use crate::store::{Conn, StoreError, keys, workspaces};

/// Without this refusal, a leaked old secret could lock out the owner of the new one.
const OLD_SECRET: &str = "This secret is the one before the last roll. Roll the key with its present secret.";

/// The key or the operator that manages the keys of a workspace.
#[derive(Clone, Copy, Debug)]
pub struct KeyManager<'a> {
    pub workspace: WorkspaceId,
    pub actor: &'a Actor,
    /// The account of the managing key; none for an operator, who may grant any scope.
    account: Option<&'a Account>,
}

impl<'a> KeyManager<'a> {
    /// The owner of a key of the workspace.
    #[must_use]
    pub fn of_workspace(account: &'a Account) -> Self {
        Self { workspace: account.workspace, actor: &account.actor, account: Some(account) }
    }

    /// An operator.
    #[must_use]
    pub fn operator(workspace: WorkspaceId, actor: &'a Actor) -> Self {
        Self { workspace, actor, account: None }
    }

    fn check_scopes(&self, scopes: &[Scope]) -> Result<(), Error> {
        let Some(account) = self.account else { return Ok(()) };
        match scopes.iter().find(|scope| !account.has_scope(**scope)) {
            Some(scope) => Err(Error::MissingScope(scope.as_str())),
            None => Ok(()),
        }
    }

    fn is_own(&self, key: &ApiKey) -> bool {
        self.account.is_some_and(|account| account.key == key.id)
    }
}

/// A new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    pub expires_at: Option<Micros>,
}

/// At most `limit` keys after one, the oldest first.
pub async fn list(
    services: &Services,
    workspace: WorkspaceId,
    after: Option<KeyId>,
    limit: usize,
) -> Result<Page<ApiKey, KeyId>, Error> {
    let read = async |conn: Conn<'_>, limit| keys::list_after(conn, workspace, after, limit).await;
    Page::read(&services.db, workspace, limit, read, |key| key.id).await
}

/// The workspace's key with this id, as it was sent.
pub async fn find(services: &Services, workspace: WorkspaceId, name: &str) -> Result<ApiKey, Error> {
    let id = KeyId::parse(name)?;
    let find = async |conn: Conn<'_>| keys::find_by_id(conn, workspace, id).await;
    services.db.read(workspace, find).await?.ok_or_else(|| KeyId::not_found(name))
}

/// Creates a key. Only the caller gets the secret; it is not stored.
pub async fn create(
    services: &Services,
    manager: KeyManager<'_>,
    request: NewKey,
) -> Result<(KeySecret, ApiKey), Error> {
    let (clock, ids) = (services.clock.as_ref(), &services.ids);
    let invalid_name =
        || Error::invalid("name", format!("Field 'name' must have 1 to {MAX_KEY_NAME} characters."));
    let name = check_name(&request.name).ok_or_else(invalid_name)?;
    if request.expires_at.is_some_and(|at| at <= clock.now()) {
        return Err(Error::invalid("expires_at", "Field 'expires_at' must be in the future."));
    }
    manager.check_scopes(&request.scopes)?;
    let secret = KeySecret::new(ids.bytes());
    let mut key = build_key(clock, ids, manager.workspace, name, &secret);
    key.scopes = request.scopes;
    key.expires_at = request.expires_at;
    let write = async |conn: Conn<'_>| insert(conn, clock, ids, manager.actor, &key, secret.hash()).await;
    let is_created = services.db.write(manager.workspace, write).await.map_err(write_error)?;
    if !is_created {
        let text = format!("The workspace has {MAX_VALID_KEYS} keys already. Revoke one first.");
        return Err(Error::Conflict(text));
    }
    Ok((secret, key))
}

/// Gives a key another secret. The present one stays valid for `overlap`; one from an earlier roll is not valid any more, and does not roll
/// its key.
pub async fn roll(
    services: &Services,
    manager: KeyManager<'_>,
    name: &str,
    overlap: Duration,
) -> Result<(KeySecret, ApiKey), Error> {
    let id = KeyId::parse(name)?;
    let (clock, ids) = (services.clock.as_ref(), &services.ids);
    let secret = KeySecret::new(ids.bytes());
    let write = async |mut conn: Conn<'_>| {
        let mut key = match lock(conn.reborrow(), manager, id).await? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let now = clock.now();
        if let Err(error) = manager.check_scopes(&key.scopes) {
            return Ok(Err(error));
        }
        if !key.is_valid(now) {
            return Ok(Err(Error::Conflict("The key is revoked or has expired.".to_owned())));
        }
        if let Some(account) = manager.account
            && manager.is_own(&key)
            && !keys::has_hash(conn.reborrow(), &key, account.secret).await?
        {
            return Ok(Err(Error::Conflict(OLD_SECRET.to_owned())));
        }
        let before = audit_fields(&key);
        key.prefix = secret.prefix();
        key.previous_until = (!overlap.is_zero()).then(|| now.plus(overlap));
        keys::roll(conn.reborrow(), &key, secret.hash(), key.previous_until).await?;
        let entry = AuditEntry::new(key.workspace, manager.actor, AuditAction::Rotated, audit_object(&key));
        let entry = entry.with_changes(before, audit_fields(&key));
        audit_log::record(conn, clock, ids, &entry).await?;
        Ok(Ok(key))
    };
    let key = services.db.write(manager.workspace, write).await.map_err(write_error)??;
    Ok((secret, key))
}

/// Revokes a key and returns it. Within five seconds every process rejects it. Revoking it again changes nothing.
pub async fn revoke(services: &Services, manager: KeyManager<'_>, name: &str) -> Result<ApiKey, Error> {
    let id = KeyId::parse(name)?;
    let (clock, ids) = (services.clock.as_ref(), &services.ids);
    let write = async |mut conn: Conn<'_>| {
        let key = match lock(conn.reborrow(), manager, id).await? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        if !manager.is_own(&key)
            && let Err(error) = manager.check_scopes(&key.scopes)
        {
            return Ok(Err(error));
        }
        revoke_found(conn, clock, ids, manager.actor, key).await.map(Ok)
    };
    services.db.write(manager.workspace, write).await.map_err(write_error)?
}

/// The key, read under the lock of its workspace, so that two changes of it follow each other.
async fn lock(
    mut conn: Conn<'_>,
    manager: KeyManager<'_>,
    id: KeyId,
) -> Result<Result<ApiKey, Error>, StoreError> {
    workspaces::lock(conn.reborrow(), &[manager.workspace].into()).await?;
    let found = keys::find_by_id(conn, manager.workspace, id).await?;
    Ok(found.ok_or_else(|| KeyId::not_found(id)))
}
