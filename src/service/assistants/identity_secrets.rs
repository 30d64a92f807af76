//! The secrets with which the back end of a site signs identity tokens, through the API: created, listed and deleted. An assistant has two
//! at most, so that one can be replaced without a gap.

use secrecy::SecretString;
use serde_json::Value;

use super::lock;
use crate::domain::account::Account;
use crate::domain::assistant::Assistant;
use crate::domain::audit::{AuditAction, AuditObject, ObjectKind};
use crate::domain::error::Error;
use crate::domain::identity::{IdentitySecret, MAX_SECRETS, secret_from_random};
use crate::domain::ids::{IdentitySecretId, ResourceId as _};
use crate::domain::seal::SecretContext;
use crate::service::configuration::Change;
use crate::service::webhook_endpoints::NO_KEY;
use crate::service::write_error::write_error;
use crate::service::{Services, resources};
use crate::store::{Conn, identity_secrets};

/// The error of a secret too many.
#[must_use]
pub fn too_many() -> Error {
    Error::Conflict(format!("An assistant can have {MAX_SECRETS} identity secrets. Delete one first."))
}

/// Creates a secret of an assistant; without a given one it is generated. Its text is not shown again.
pub async fn create(
    services: &Services,
    account: &Account,
    assistant: &str,
    given: Option<SecretString>,
) -> Result<(IdentitySecret, SecretString), Error> {
    let keys = services.seal_keys.as_ref().ok_or(Error::NotConfigured(NO_KEY))?;
    let text = given.unwrap_or_else(|| secret_from_random(services.ids.bytes()));
    let (workspace, created_at) = (account.workspace, services.clock.now());
    let id = IdentitySecretId(services.ids.uuid_v7(services.clock.as_ref()));
    let sealed = keys.seal(&SecretContext::of_identity(workspace, id), &text, services.ids.bytes());
    let sealed = sealed.map_err(Error::internal)?;
    let write = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), workspace, assistant).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        if identity_secrets::list(conn.reborrow(), workspace, row.id).await?.len() >= MAX_SECRETS {
            return Ok(Err(too_many()));
        }
        let secret = IdentitySecret { workspace, id, assistant: row.id, secret: sealed.clone(), created_at };
        identity_secrets::insert(conn.reborrow(), &secret).await?;
        change(AuditAction::Created, id, &row.slug).record(conn, services, account).await?;
        Ok(Ok(secret))
    };
    let created = services.db.write(workspace, write).await.map_err(write_error)??;
    Ok((created, text))
}

/// The secrets of an assistant, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    assistant: &str,
) -> Result<Vec<IdentitySecret>, Error> {
    let assistant = resources::find::<Assistant>(services, account, assistant).await?;
    let list = async |conn: Conn<'_>| identity_secrets::list(conn, account.workspace, assistant.id).await;
    Ok(services.db.read(account.workspace, list).await?)
}

/// Deletes a secret of an assistant: from then on, no process accepts a token that it has signed.
pub async fn delete(
    services: &Services,
    account: &Account,
    assistant: &str,
    name: &str,
) -> Result<IdentitySecret, Error> {
    let workspace = account.workspace;
    let write = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), workspace, assistant).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let secrets = identity_secrets::list(conn.reborrow(), workspace, row.id).await?;
        let found = secrets.into_iter().find(|secret| name.parse() == Ok(secret.id));
        let Some(secret) = found else { return Ok(Err(IdentitySecretId::not_found(name))) };
        identity_secrets::delete(conn.reborrow(), workspace, secret.id).await?;
        change(AuditAction::Deleted, secret.id, &row.slug).record(conn, services, account).await?;
        Ok(Ok(secret))
    };
    services.db.write(workspace, write).await.map_err(write_error)?
}

/// An entry of the audit log, with the slug of the assistant.
fn change(action: AuditAction, id: IdentitySecretId, assistant: &str) -> Change {
    let object = AuditObject::new(ObjectKind::IdentitySecret, id, Some(assistant));
    Change { action, object, before: Value::Null, after: Value::Null }
}
