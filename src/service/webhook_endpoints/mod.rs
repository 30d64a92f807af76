//! Webhook endpoints of the platform API: create, update, delete, and rotation of their secrets. [`deliveries`] has
//! what was sent to them.

pub mod deliveries;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::{Services, resources, workspace_hosts};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::ids::{EndpointId, IdGenerator, WorkspaceId};
use crate::domain::seal::{SealedSecret, SecretContext};
use crate::domain::signature::SigningSecret;
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, EndpointPatch, NewEndpoint};
use crate::outbound::{UrlError, check_url};
use crate::writer::{EndpointAction, WriteEndpoint};

/// The refusal of a secret without a key to encrypt it.
pub const NO_KEY: &str =
    "This server has no key to encrypt secrets; its operator must set REJOINDER_SECRET_KEY.";

/// The error of a rotation without a secret.
pub const SECRET_REQUIRED: &str = "Field 'secret' is required while the secret before this one still signs; \
    'overlap_seconds': 0 ends it at once.";

/// A new endpoint. Its fields are checked, except for the address of its URL.
#[derive(Debug)]
pub struct CreateEndpoint {
    pub url: String,
    /// Empty: all types.
    pub types: Vec<EventType>,
    pub description: Option<String>,
    /// None: a new one is generated.
    pub secret: Option<SigningSecret>,
    pub enabled: bool,
}

/// An endpoint with a new secret as `whsec_…` text, which is shown only once.
#[derive(Debug)]
pub struct EndpointAndSecret {
    pub endpoint: Endpoint,
    pub secret: SecretString,
}

/// Creates an endpoint.
pub async fn create(
    services: &Services,
    account: &Account,
    request: CreateEndpoint,
) -> Result<EndpointAndSecret, Error> {
    check_target(services, account.workspace, &request.url).await?;
    let id = EndpointId(services.ids.uuid_v7(services.clock.as_ref()));
    let context = SecretContext::of_endpoint(account.workspace, id);
    let (secret, sealed) = new_secret(services, &context, request.secret, [])?;
    let new = NewEndpoint {
        slug: None,
        description: request.description,
        url: request.url,
        types: request.types,
        secret: sealed,
        disabled: (!request.enabled).then_some(DisabledReason::Api),
    };
    let action = EndpointAction::Create(new);
    let endpoint = write(services, account, id, action).await?;
    Ok(EndpointAndSecret { endpoint, secret })
}

/// Updates the given fields. Enabling an endpoint resets its failures.
pub async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    update: EndpointPatch,
) -> Result<Endpoint, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    if let Some(url) = &update.url {
        check_target(services, account.workspace, url).await?;
    }
    write(services, account, endpoint.id, EndpointAction::Update(update)).await
}

/// Rotates the secret; the old one also signs for `overlap`, see [`Endpoint::rotate`]. Without a given secret it is
/// refused while an older one still signs: a client that repeats a lost response would otherwise create another
/// secret that its receiver does not know.
pub async fn rotate_secret(
    services: &Services,
    account: &Account,
    name: &str,
    secret: Option<SigningSecret>,
    overlap: Duration,
) -> Result<EndpointAndSecret, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    if secret.is_none() && !overlap.is_zero() && endpoint.secrets(services.clock.now()).len() > 1 {
        return Err(Error::Conflict(SECRET_REQUIRED.to_owned()));
    }
    let context = SecretContext::of_endpoint(endpoint.workspace, endpoint.id);
    let (secret, sealed) = new_secret(services, &context, secret, endpoint.stored_secrets())?;
    let update = EndpointPatch { secret: Some((sealed, overlap)), ..EndpointPatch::default() };
    let endpoint = write(services, account, endpoint.id, EndpointAction::Update(update)).await?;
    Ok(EndpointAndSecret { endpoint, secret })
}

/// Deletes an endpoint and returns it: nothing more is sent to it, and its rows are removed in the background.
pub async fn delete(services: &Services, account: &Account, name: &str) -> Result<Endpoint, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    write(services, account, endpoint.id, EndpointAction::Archive { by_file: false }).await?;
    Ok(endpoint)
}

async fn write(
    services: &Services,
    account: &Account,
    endpoint: EndpointId,
    action: EndpointAction,
) -> Result<Endpoint, Error> {
    let (workspace, actor) = (account.workspace, Arc::clone(&account.actor));
    services.writer.execute(WriteEndpoint { workspace, endpoint, action, actor }).await
}

/// Refuses a URL that every delivery would refuse, whatever its name resolves to.
async fn check_target(services: &Services, workspace: WorkspaceId, url: &str) -> Result<(), Error> {
    let own = services.db.read(workspace, async |conn| workspace_hosts::load(conn, workspace).await).await?;
    let refused = |refused: UrlError| {
        Error::invalid("url", format!("Field 'url' is refused: {refused}{}.", refused.remedy()))
    };
    check_url(url, &[&services.allow_hosts, &own]).map(drop).map_err(refused)
}

fn new_secret<'k>(
    services: &Services,
    context: &SecretContext<'_>,
    given: Option<SigningSecret>,
    existing: impl IntoIterator<Item = &'k SealedSecret>,
) -> Result<(SecretString, SealedSecret), Error> {
    let text = given.unwrap_or_else(|| make_secret(&services.ids)).to_text();
    let keys = services.seal_keys.as_ref().ok_or(Error::NotConfigured(NO_KEY))?;
    let sealed = keys.seal_or_reuse(context, &text, existing, services.ids.bytes());
    Ok((text, sealed.map_err(Error::internal)?))
}

/// Generates a secret.
pub(super) fn make_secret(ids: &IdGenerator) -> SigningSecret {
    SigningSecret::from_random(ids.bytes())
}
