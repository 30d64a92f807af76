//! Webhook endpoints, as the platform door sets them up: made, changed, deleted, their
//! secrets rotated. What was sent to them is in [`deliveries`].

pub mod deliveries;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::batch::{EndpointAction, EndpointChange, EndpointWrite, NewEndpoint};
use crate::domain::error::{Error, Thing};
use crate::domain::event::EventType;
use crate::domain::ids::{EndpointId, Ids, WorkspaceId};
use crate::domain::seal::Sealed;
use crate::domain::signature::Secret;
use crate::domain::webhook_endpoint::Endpoint;
use crate::outbound::{AllowHosts, check_url};
use crate::store::{Conn, StoreError, webhook_endpoints, workspaces};

const NO_KEY: &str = "This server cannot keep secrets: its operator has to set REJOINDER_SECRET_KEY.";

const STILL_SIGNS: &str = "Field 'secret' is required while the secret before this one still signs; \
    'overlap_seconds': 0 ends it at once.";

/// An endpoint to be made; its fields were checked but for where its URL leads.
#[derive(Debug)]
pub struct Wanted {
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    pub description: Option<String>,
    /// None: one is made.
    pub secret: Option<Secret>,
}

/// An endpoint with a new secret, as its `whsec_…` text: shown now, and never again.
#[derive(Debug)]
pub struct WithSecret {
    pub endpoint: Endpoint,
    pub secret: SecretString,
}

/// Makes an endpoint.
pub async fn create(services: &Services, account: &Account, wanted: Wanted) -> Result<WithSecret, Error> {
    check_target(services, account.workspace, &wanted.url).await?;
    let (secret, sealed) = new_secret(services, wanted.secret)?;
    let new = NewEndpoint {
        slug: None,
        description: wanted.description,
        url: wanted.url,
        types: wanted.types,
        secret: sealed,
        disabled: None,
    };
    let id = EndpointId(services.ids.ordered(services.clock.as_ref()));
    let action = EndpointAction::Make(Box::new(new));
    let endpoint = write(services, account, id, action).await?;
    Ok(WithSecret { endpoint, secret })
}

/// The endpoint of the account's workspace that has this id, as it was sent.
pub async fn find(services: &Services, account: &Account, name: &str) -> Result<Endpoint, Error> {
    let not_found = || Error::not_found(Thing::WebhookEndpoint, name);
    let id = name.parse().map_err(|_| not_found())?;
    let place = [(account.workspace, id)];
    let found = services.db.reading(async |conn| webhook_endpoints::find_many(conn, &place).await).await?;
    let found = found.into_iter().next().filter(|endpoint| endpoint.archived_at.is_none());
    found.ok_or_else(not_found)
}

/// At most `limit` endpoints after one, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    after: Option<EndpointId>,
    limit: usize,
) -> Result<Page<Endpoint, EndpointId>, Error> {
    let ask = page::rows(limit);
    let read = async |conn: Conn<'_>| webhook_endpoints::list(conn, account.workspace, after, ask).await;
    let found = services.db.reading(read).await?;
    Ok(Page::cut(found, limit, |endpoint| endpoint.id))
}

/// Changes what is named. One that is enabled again begins with no failures.
pub async fn change(
    services: &Services,
    account: &Account,
    name: &str,
    change: EndpointChange,
) -> Result<Endpoint, Error> {
    let endpoint = find(services, account, name).await?;
    if let Some(url) = &change.url {
        check_target(services, account.workspace, url).await?;
    }
    write(services, account, endpoint.id, EndpointAction::Change(Box::new(change))).await
}

/// Gives it a new secret; the old one signs too for `overlap`. The secret that it has already changes
/// nothing, so that a client can repeat what it chose. Where none is given while an older one still signs,
/// that is refused: a client that repeats what was not answered would end the one that its receiver knows.
pub async fn rotate_secret(
    services: &Services,
    account: &Account,
    name: &str,
    secret: Option<Secret>,
    overlap: Duration,
) -> Result<WithSecret, Error> {
    let endpoint = find(services, account, name).await?;
    match &secret {
        Some(given) if !overlap.is_zero() && is_its_own(services, &endpoint, given) => {
            return Ok(WithSecret { endpoint, secret: given.to_text() });
        }
        None if !overlap.is_zero() && endpoint.secrets(services.clock.now()).len() > 1 => {
            return Err(Error::invalid("secret", STILL_SIGNS));
        }
        Some(_) | None => {}
    }
    let (secret, sealed) = new_secret(services, secret)?;
    let change = EndpointChange { secret: Some((sealed, overlap)), ..EndpointChange::default() };
    let endpoint = write(services, account, endpoint.id, EndpointAction::Change(Box::new(change))).await?;
    Ok(WithSecret { endpoint, secret })
}

/// Deletes it: nothing more is sent to it, and its rows are removed by and by. As it was.
pub async fn delete(services: &Services, account: &Account, name: &str) -> Result<Endpoint, Error> {
    let endpoint = find(services, account, name).await?;
    write(services, account, endpoint.id, EndpointAction::Archive { by_file: false }).await?;
    Ok(endpoint)
}

async fn write(
    services: &Services,
    account: &Account,
    endpoint: EndpointId,
    action: EndpointAction,
) -> Result<Endpoint, Error> {
    services.writer.write_endpoint(EndpointWrite { workspace: account.workspace, endpoint, action }).await
}

/// What would be refused at each delivery, whatever the name resolves to, is refused now.
async fn check_target(services: &Services, workspace: WorkspaceId, url: &str) -> Result<(), Error> {
    let read = async |conn: Conn<'_>| workspaces::settings(conn, &[workspace].into()).await;
    let settings = services.db.reading(read).await?.into_iter().next();
    let own = settings.map(|settings| settings.allow_hosts).unwrap_or_default();
    let own = AllowHosts::parse(own).map_err(|fault| StoreError::Unusable(fault.to_string()))?;
    let refused = |refused| Error::invalid("url", format!("Field 'url' is refused: {refused}."));
    check_url(url, &[&services.allow_hosts, &own]).map(drop).map_err(refused)
}

/// Whether it is the secret that an endpoint has.
fn is_its_own(services: &Services, endpoint: &Endpoint, given: &Secret) -> bool {
    let kept = services.seal_key.as_ref().and_then(|key| key.open(&endpoint.secret).ok());
    kept.is_some_and(|kept| kept.expose_secret() == given.to_text().expose_secret())
}

fn new_secret(services: &Services, given: Option<Secret>) -> Result<(SecretString, Sealed), Error> {
    let text = given.unwrap_or_else(|| make_secret(&services.ids)).to_text();
    let key = services.seal_key.as_ref().ok_or(Error::NotConfigured(NO_KEY))?;
    let sealed = key.seal(&text, services.ids.bytes());
    let failed = |fault| Error::Unavailable { outcome_unknown: false, source: Some(Box::new(fault)) };
    Ok((text, sealed.map_err(failed)?))
}

/// A new secret, for an endpoint that brings none.
pub(super) fn make_secret(ids: &Ids) -> Secret {
    Secret::from_random(ids.bytes())
}
