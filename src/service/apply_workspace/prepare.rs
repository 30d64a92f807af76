//! What is read and checked before anything is locked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

use super::{ApplyError, Site};
use crate::domain::assistant::Fallback;
use crate::domain::knowledge::{Format, MAX_FILE, Ready};
use crate::domain::signature::Secret;
use crate::domain::workspace_file::{EnvName, FileMcp, FileSource, FileUses, TextIn, WorkspaceFile};
use crate::outbound::{AllowHosts, check_url};
use crate::service::knowledge::Source;
use crate::tools::Secrets;
use crate::tools::mcp::{self, Listing, Reach};

/// A file whose addresses were checked and whose secrets were read.
pub(in crate::service) struct Prepared {
    pub(super) file: WorkspaceFile,
    /// Of each knowledge base, in the file's order.
    pub(super) documents: Vec<Vec<Ready>>,
    pub(super) secrets: HashMap<EnvName, SecretString>,
    pub(super) warnings: Vec<String>,
    /// What each MCP server listed, or why it did not, by the slug of its tool.
    pub(super) listings: HashMap<String, Result<Listing, String>>,
}

impl Prepared {
    pub(in crate::service) async fn read(site: &Site<'_>, text: &str) -> Result<Self, ApplyError> {
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
        let documents = read_documents(site, &file).await?;
        let listings = listings(site, &file, &secrets).await?;
        Ok(Self { file, documents, secrets, warnings, listings })
    }
}

/// Reads and cuts all documents; the first that cannot be read is named with its line.
async fn read_documents(site: &Site<'_>, file: &WorkspaceFile) -> Result<Vec<Vec<Ready>>, ApplyError> {
    let mut of_bases = Vec::new();
    for base in &file.knowledge_bases {
        let mut documents = Vec::new();
        for document in &base.documents {
            let (format, bytes) = match &document.source {
                FileSource::Text(text) => (Format::Markdown, text.clone().into_bytes()),
                FileSource::Path(path, format) => {
                    let read = read_file(site.folder, Path::new(path));
                    (*format, read.map_err(|fault| document.place.with(format_args!("{path} {fault}")))?)
                }
            };
            let (slug, title) = (document.slug.clone(), document.title.clone());
            let source = Source { slug, title, url: document.url.clone(), format, file: bytes.into() };
            let ready = site.readers.make_ready(source, base.language).await;
            documents.push(ready.map_err(|fault| document.place.with(format_args!("the document {fault}")))?);
        }
        of_bases.push(documents);
    }
    Ok(of_bases)
}

fn read_file(folder: Option<&Path>, path: &Path) -> Result<Vec<u8>, String> {
    let folder = folder.ok_or("cannot be read: this file has no folder")?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let read = File::open(folder.join(path)).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|fault| format!("cannot be read: {fault}"))?;
    Ok(bytes)
}

/// Asks each MCP server of the file what it has.
async fn listings(
    site: &Site<'_>,
    file: &WorkspaceFile,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<HashMap<String, Result<Listing, String>>, ApplyError> {
    let own = allow_hosts(file)?;
    let asked = file.tools.iter().filter_map(|tool| match &tool.uses {
        FileUses::Mcp(server) => Some((tool.slug.clone(), server)),
        FileUses::Webhook(_)
        | FileUses::CalendarAvailability { .. }
        | FileUses::CalendarBooking { .. }
        | FileUses::CalendarCancel { .. }
        | FileUses::Knowledge { .. } => None,
    });
    let asking = asked.map(async |(slug, server)| (slug, ask(site, server, &own, secrets).await));
    Ok(futures::future::join_all(asking).await.into_iter().collect())
}

async fn ask(
    site: &Site<'_>,
    server: &FileMcp,
    own: &AllowHosts,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<Listing, String> {
    let mut hidden = Secrets::new(None);
    let mut headers = HeaderMap::new();
    for (name, text) in &server.headers {
        let (text, is_secret) = match text {
            TextIn::Plain(text) => (text.as_str(), false),
            TextIn::Env(env) => {
                let secret = secrets.get(env).map_or("", |secret| secret.expose_secret());
                hidden.hide(secret);
                (secret, true)
            }
        };
        mcp::add_header(&mut headers, name, text, is_secret)?;
    }
    let reach = Reach {
        outbound: site.outbound.clone(),
        allow_hosts: own.clone(),
        url: server.url.clone(),
        headers,
        timeout: Duration::from_millis(server.timeout_ms),
    };
    let listing = mcp::list(reach, server.allow.as_deref(), &hidden).await?;
    match listing.missing.first() {
        Some(name) => Err(format!("it has no tool {name:?}")),
        None => Ok(listing),
    }
}

fn allow_hosts(file: &WorkspaceFile) -> Result<AllowHosts, ApplyError> {
    AllowHosts::parse(&file.allow_hosts)
        .map_err(|error| ApplyError::Refused(format!("workspace.allow_hosts: {error}")))
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
    let own = allow_hosts(file)?;
    for tool in &file.tools {
        let url = match &tool.uses {
            FileUses::Webhook(webhook) => &webhook.url,
            FileUses::Mcp(server) => &server.url,
            FileUses::CalendarAvailability { .. }
            | FileUses::CalendarBooking { .. }
            | FileUses::CalendarCancel { .. }
            | FileUses::Knowledge { .. } => continue,
        };
        check_url(url, &[of_all, &own]).map_err(|refused| {
            ApplyError::Refused(format!("the url of tool \"{}\": {refused}", tool.slug))
        })?;
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
