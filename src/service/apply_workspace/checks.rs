//! Checks of a file that need more than its text: the configuration, the secrets, the MCP servers. Their errors name the
//! line.

use std::collections::HashMap;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::ApplyError;
use crate::domain::identity::is_secret;
use crate::domain::signature::SigningSecret;
use crate::formats::workspace_file::{EnvName, WorkspaceFile, WorkspaceFileError};
use crate::outbound::{AllowHosts, UrlError, check_url};
use crate::service::calendars::check_caldav_address;
use crate::tools::mcp::{ListError, Listing};

/// A parsed file with its text, in which errors are located.
pub(super) struct Checks<'f> {
    pub file: &'f WorkspaceFile,
    pub text: &'f str,
}

impl Checks<'_> {
    fn error(&self, path: &str, problem: impl fmt::Display) -> ApplyError {
        ApplyError::File(WorkspaceFileError::at(self.text, path, problem))
    }

    /// The private hosts that the file allows.
    pub(super) fn allow_hosts(&self) -> Result<AllowHosts, ApplyError> {
        AllowHosts::parse(&self.file.workspace.allow_hosts)
            .map_err(|error| self.error("workspace.allow_hosts", error))
    }

    /// Refuses addresses that every call would refuse.
    pub(super) fn check_addresses(&self, allow: &[&AllowHosts]) -> Result<(), ApplyError> {
        for (at, tool) in self.file.tools.iter().enumerate() {
            let Some(url) = tool.config.url() else { continue };
            self.check_address(&format!("tools[{at}].url"), url, allow)?;
        }
        for (at, calendar) in self.file.calendars.iter().enumerate() {
            let Some(caldav) = &calendar.caldav else { continue };
            let path = format!("calendars[{at}].caldav.url");
            check_caldav_address(caldav, allow).map_err(|problem| self.error(&path, problem))?;
        }
        for (at, endpoint) in self.file.webhook_endpoints.iter().enumerate() {
            self.check_address(&format!("webhook_endpoints[{at}].url"), &endpoint.url, allow)?;
        }
        Ok(())
    }

    fn check_address(&self, path: &str, url: &str, allow: &[&AllowHosts]) -> Result<(), ApplyError> {
        let describe = |refused: UrlError| self.error(path, format_args!("{refused}{}", refused.remedy()));
        check_url(url, allow).map(drop).map_err(describe)
    }

    /// Refuses secrets with which no request could be signed.
    pub(super) fn check_signing_secrets(
        &self,
        secrets: &HashMap<EnvName, SecretString>,
    ) -> Result<(), ApplyError> {
        for (at, tool) in self.file.tools.iter().enumerate() {
            let name = tool.config.webhook().and_then(|webhook| webhook.secret.as_ref());
            // A call trims its secret; a delivery does not.
            self.check_signing_secret(&format!("tools[{at}].secret"), name, secrets, str::trim)?;
        }
        for (at, endpoint) in self.file.webhook_endpoints.iter().enumerate() {
            let path = format!("webhook_endpoints[{at}].secret");
            self.check_signing_secret(&path, endpoint.secret.as_ref(), secrets, |secret| secret)?;
        }
        Ok(())
    }

    /// Refuses secrets with which no identity token could be signed.
    pub(super) fn check_identity_secrets(
        &self,
        secrets: &HashMap<EnvName, SecretString>,
    ) -> Result<(), ApplyError> {
        for (at, assistant) in self.file.assistants.iter().enumerate() {
            for (index, name) in assistant.identity_secrets.iter().enumerate() {
                if secrets.get(name).is_some_and(|secret| is_secret(secret.expose_secret().trim())) {
                    continue;
                }
                let problem = "it needs 32 to 512 printable ASCII characters, without spaces";
                let problem = format_args!("{{ env = \"{}\" }} is not usable: {problem}", name.env);
                return Err(self.error(&format!("assistants[{at}].identity_secrets[{index}]"), problem));
            }
        }
        Ok(())
    }

    fn check_signing_secret(
        &self,
        path: &str,
        name: Option<&EnvName>,
        secrets: &HashMap<EnvName, SecretString>,
        trim: fn(&str) -> &str,
    ) -> Result<(), ApplyError> {
        let Some((name, secret)) = name.and_then(|name| Some((name, secrets.get(name)?))) else {
            return Ok(());
        };
        SigningSecret::parse(trim(secret.expose_secret())).map(drop).map_err(|error| {
            self.error(path, format_args!("{{ env = \"{}\" }} is not usable: {error}", name.env))
        })
    }

    /// Refuses names in the `allow` of an MCP server that the server does not list.
    pub(super) fn check_listings(
        &self,
        listings: &HashMap<String, Result<Listing, ListError>>,
    ) -> Result<(), ApplyError> {
        for (at, tool) in self.file.tools.iter().enumerate() {
            let Some(Err(error @ ListError::NoSuchTool { name, .. })) = listings.get(&tool.slug) else {
                continue;
            };
            let mut allow = tool.config.mcp().into_iter().flat_map(|server| server.allow.iter().flatten());
            let index = allow.position(|allowed| allowed == name).unwrap_or_default();
            let problem = format_args!("the MCP server cannot be used: {error}");
            return Err(self.error(&format!("tools[{at}].allow[{index}]"), problem));
        }
        Ok(())
    }
}
