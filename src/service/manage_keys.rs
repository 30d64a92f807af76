//! The keys of a workspace through the API: listed, created, rolled and revoked.
//!
//! A key manages only keys with scopes that it has itself, and no key gets a longer life from it: otherwise one that may make keys could get
//! any scope by rolling a stronger key, outlive its expiry, or lock the owner of a stronger key out. It may always revoke itself. Each change
//! reads the managing key again: another key would outlive the few seconds in which a revoked one is trusted.

use std::time::Duration;

use super::Services;
use super::audit_log;
use super::current_key::{self, Credentials};
use super::keys::{MAX_VALID_KEYS, audit_fields, audit_object, build_key, check_name, insert, revoke_found};
use super::page::Page;
use super::write_error::write_error;
use crate::domain::account::{Account, OperatorAccount, Scope};
use crate::domain::api_key::{ApiKey, KeySecret, MAX_KEY_NAME};
use crate::domain::audit::{Actor, AuditAction, AuditEntry};
use crate::domain::clock::{Clock, Micros};
use crate::domain::error::Error;
use crate::domain::ids::{KeyId, ResourceId as _, WorkspaceId};
use crate::store::{Conn, StoreError, keys, workspaces};

/// Without this refusal, a leaked old secret could create a key that outlives it, or lock out the owner of the new one.
pub const OLD_SECRET: &str =
    "This secret is the one before the last roll. Only the key's present secret manages keys.";
/// The refusal to roll a key that expires after the one that rolls it.
pub const OUTLIVES: &str = "The key expires later than the one that you use, which therefore cannot roll it.";

/// The key or the operator that manages the keys of a workspace.
#[derive(Clone, Copy, Debug)]
pub struct KeyManager<'a> {
    pub workspace: WorkspaceId,
    /// An operator may grant any scope for any time.
    credentials: Credentials<'a>,
}

impl<'a> KeyManager<'a> {
    /// The owner of a key of the workspace.
    #[must_use]
    pub fn of_workspace(account: &'a Account) -> Self {
        Self { workspace: account.workspace, credentials: Credentials::Key(account) }
    }

    /// An operator.
    #[must_use]
    pub fn operator(workspace: WorkspaceId, operator: &'a OperatorAccount) -> Self {
        Self { workspace, credentials: Credentials::Operator(operator) }
    }

    fn account(&self) -> Option<&'a Account> {
        match self.credentials {
            Credentials::Key(account) => Some(account),
            Credentials::Operator(_) => None,
        }
    }

    fn actor(&self) -> &'a Actor {
        self.credentials.actor()
    }

    /// Locks the workspace, so that two changes of its keys follow each other, and reads the manager's key again. Returns its expiry.
    async fn lock(
        &self,
        mut conn: Conn<'_>,
        clock: &dyn Clock,
    ) -> Result<Result<Option<Micros>, Error>, StoreError> {
        workspaces::lock(conn.reborrow(), &[self.workspace].into()).await?;
        let account = match self.credentials {
            Credentials::Key(account) => account,
            Credentials::Operator(operator) => {
                let checked = current_key::check_operator(conn, clock, operator).await?;
                return Ok(checked.map(|()| None));
            }
        };
        let key = match current_key::read(conn.reborrow(), clock, account).await? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let has_present_secret = keys::has_hash(conn, &key, account.secret).await?;
        Ok(if has_present_secret { Ok(key.expires_at) } else { Err(Error::Conflict(OLD_SECRET.to_owned())) })
    }

    /// Like [`lock`](Self::lock), with the key to change.
    async fn lock_key(
        &self,
        mut conn: Conn<'_>,
        clock: &dyn Clock,
        id: KeyId,
    ) -> Result<Result<(ApiKey, Option<Micros>), Error>, StoreError> {
        let expires_at = match self.lock(conn.reborrow(), clock).await? {
            Ok(expires_at) => expires_at,
            Err(error) => return Ok(Err(error)),
        };
        let found = keys::find_by_id(conn, self.workspace, id).await?;
        Ok(found.map(|key| (key, expires_at)).ok_or_else(|| KeyId::not_found(id)))
    }

    fn check_scopes(&self, scopes: &[Scope]) -> Result<(), Error> {
        let Some(account) = self.account() else { return Ok(()) };
        match scopes.iter().find(|scope| !account.has_scope(**scope)) {
            Some(scope) => Err(Error::MissingScope(scope.as_str())),
            None => Ok(()),
        }
    }

    fn is_own(&self, key: &ApiKey) -> bool {
        self.account().is_some_and(|account| account.key == key.id)
    }
}

/// A new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// None: with the key that creates it, if that expires.
    pub expiry: Option<KeyExpiry>,
}

/// When a new key expires, as the request gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExpiry {
    After(Duration),
    At(Micros),
}

impl KeyExpiry {
    /// The field of the request.
    fn field(self) -> &'static str {
        match self {
            Self::After(_) => "expires_in_seconds",
            Self::At(_) => "expires_at",
        }
    }

    fn time(self, now: Micros) -> Micros {
        match self {
            Self::After(duration) => now.plus(duration),
            Self::At(time) => time,
        }
    }
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
    let now = clock.now();
    if let Some(expiry) = request.expiry.filter(|expiry| expiry.time(now) <= now) {
        let field = expiry.field();
        return Err(Error::invalid(field, format!("Field '{field}' must be in the future.")));
    }
    manager.check_scopes(&request.scopes)?;
    let secret = KeySecret::new(ids.bytes());
    let mut key = build_key(clock, ids, manager.workspace, name, &secret);
    key.scopes = request.scopes;
    let write = async |mut conn: Conn<'_>| {
        let checked = manager.lock(conn.reborrow(), clock).await?;
        let expires_at = match checked.and_then(|end| expires_at(request.expiry, now, end)) {
            Ok(expires_at) => expires_at,
            Err(error) => return Ok(Err(error)),
        };
        let key = ApiKey { expires_at, ..key.clone() };
        let is_created = insert(conn, clock, ids, manager.actor(), &key, secret.hash()).await?;
        Ok(if is_created { Ok(key) } else { Err(too_many()) })
    };
    let key = services.db.write(manager.workspace, write).await.map_err(write_error)??;
    Ok((secret, key))
}

fn too_many() -> Error {
    Error::Conflict(format!("The workspace has {MAX_VALID_KEYS} keys already. Revoke one first."))
}

/// The expiry of a new key that is created now, and whose creator expires at `end`.
fn expires_at(
    requested: Option<KeyExpiry>,
    now: Micros,
    end: Option<Micros>,
) -> Result<Option<Micros>, Error> {
    match (requested, end) {
        (Some(expiry), Some(end)) if expiry.time(now) > end => {
            let field = expiry.field();
            let text = format!(
                "Field '{field}' must not make the key expire after {end}, when the key that you use expires."
            );
            Err(Error::invalid(field, text))
        }
        (requested, end) => Ok(requested.map(|expiry| expiry.time(now)).or(end)),
    }
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
        let (mut key, own_end) = match manager.lock_key(conn.reborrow(), clock, id).await? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let now = clock.now();
        if let Err(error) = manager.check_scopes(&key.scopes) {
            return Ok(Err(error));
        }
        if !key.is_valid(now) {
            return Ok(Err(Error::Conflict("The key is revoked or has expired.".to_owned())));
        }
        if own_end.is_some_and(|own| key.expires_at.is_none_or(|end| own < end)) {
            return Ok(Err(Error::Conflict(OUTLIVES.to_owned())));
        }
        let before = audit_fields(&key);
        key.prefix = secret.prefix();
        key.previous_until = (!overlap.is_zero()).then(|| now.plus(overlap));
        keys::roll(conn.reborrow(), &key, secret.hash(), key.previous_until).await?;
        let entry = AuditEntry::new(key.workspace, manager.actor(), AuditAction::Rotated, audit_object(&key));
        let entry = entry.with_changes(before, audit_fields(&key));
        audit_log::record(conn, clock, ids, &entry).await?;
        Ok(Ok(key))
    };
    let key = services.db.write(manager.workspace, write).await.map_err(write_error)??;
    services.key_cache.remove_key(id);
    Ok((secret, key))
}

/// Revokes a key and returns it. Within five seconds every process rejects it. Revoking it again changes nothing.
pub async fn revoke(services: &Services, manager: KeyManager<'_>, name: &str) -> Result<ApiKey, Error> {
    let id = KeyId::parse(name)?;
    let (clock, ids) = (services.clock.as_ref(), &services.ids);
    let write = async |mut conn: Conn<'_>| {
        let key = match manager.lock_key(conn.reborrow(), clock, id).await? {
            Ok((key, _)) => key,
            Err(error) => return Ok(Err(error)),
        };
        if !manager.is_own(&key)
            && let Err(error) = manager.check_scopes(&key.scopes)
        {
            return Ok(Err(error));
        }
        revoke_found(conn, clock, ids, manager.actor(), key).await.map(Ok)
    };
    let key = services.db.write(manager.workspace, write).await.map_err(write_error)??;
    services.key_cache.remove_key(id);
    Ok(key)
}
