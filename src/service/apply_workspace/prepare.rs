//! What is read and checked before anything is locked.

use std::collections::HashMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ApplyError, Site};
use crate::domain::assistant::Fallback;
use crate::domain::signature::Secret;
use crate::domain::workspace_file::{EnvName, FileUses, WorkspaceFile};
use crate::outbound::{AllowHosts, check_url};

/// A file whose addresses were checked and whose secrets were read.
pub(in crate::service) struct Prepared {
    pub(super) file: WorkspaceFile,
    pub(super) secrets: HashMap<EnvName, SecretString>,
    pub(super) warnings: Vec<String>,
}

impl Prepared {
    pub(in crate::service) fn read(site: &Site<'_>, text: &str) -> Result<Self, ApplyError> {
        let file = WorkspaceFile::parse(text)?;
        check_addresses(&file, site.allow_hosts)?;
        let mut secrets = HashMap::new();
        for name in file.secrets() {
            let missing = || ApplyError::SecretMissing(name.env.clone());
            secrets.insert(name.clone(), (site.secret)(&name.env).ok_or_else(missing)?);
        }
        check_signing_secrets(&file, &secrets)?;
        if (!secrets.is_empty() || !file.webhook_endpoints.is_empty()) && site.seal.is_none() {
            return Err(ApplyError::NoSecretKey);
        }
        let warnings = unknown_connections(site, &file);
        Ok(Self { file, secrets, warnings })
    }
}

/// A reply would pass over such a fallback.
fn unknown_connections(site: &Site<'_>, file: &WorkspaceFile) -> Vec<String> {
    let mut warnings = Vec::new();
    for assistant in &file.assistants {
        for Fallback { connection, model } in &assistant.fallbacks {
            if !(site.has_connection)(connection) {
                let slug = &assistant.slug;
                warnings.push(format!(
                    "assistant {slug}: the fallback to {model} is passed over, for the configuration has no \
                     connection \"{connection}\""
                ));
            }
        }
    }
    warnings
}

/// What could sign nothing is refused here.
fn check_signing_secrets(
    file: &WorkspaceFile,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<(), ApplyError> {
    for endpoint in &file.webhook_endpoints {
        let secret = endpoint.secret.as_ref().and_then(|name| secrets.get(name));
        if let Some(Err(fault)) = secret.map(|secret| Secret::parse(secret.expose_secret())) {
            let slug = &endpoint.slug;
            return Err(ApplyError::Refused(format!("the secret of webhook endpoint \"{slug}\": {fault}")));
        }
    }
    Ok(())
}

/// What would be refused at each call is refused here.
fn check_addresses(file: &WorkspaceFile, of_all: &AllowHosts) -> Result<(), ApplyError> {
    let own = AllowHosts::parse(&file.allow_hosts)
        .map_err(|error| ApplyError::Refused(format!("workspace.allow_hosts: {error}")))?;
    for tool in &file.tools {
        if let FileUses::Webhook(webhook) = &tool.uses {
            check_url(&webhook.url, &[of_all, &own]).map_err(|refused| {
                ApplyError::Refused(format!("the url of tool \"{}\": {refused}", tool.slug))
            })?;
        }
    }
    for calendar in &file.calendars {
        if let Some(caldav) = &calendar.caldav {
            check_url(&caldav.url, &[of_all, &own]).map_err(|refused| {
                ApplyError::Refused(format!("the caldav.url of calendar \"{}\": {refused}", calendar.slug))
            })?;
        }
    }
    for endpoint in &file.webhook_endpoints {
        check_url(&endpoint.url, &[of_all, &own]).map_err(|refused| {
            ApplyError::Refused(format!("the url of webhook endpoint \"{}\": {refused}", endpoint.slug))
        })?;
    }
    Ok(())
}
