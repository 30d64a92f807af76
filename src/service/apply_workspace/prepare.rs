//! Reads and checks the file, its documents and its secrets before anything is locked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ApplyContext, ApplyError, ApplyStep};
use crate::domain::assistant::ModelRef;
use crate::domain::knowledge::{Charset, Format, MAX_FILE, PreparedDocument};
use crate::domain::signature::SigningSecret;
use crate::domain::tool::McpServer;
use crate::formats::workspace_file::{EnvName, FileSource, WorkspaceFile};
use crate::outbound::{AllowHosts, check_url};
use crate::service::knowledge::DocumentSource;
use crate::tools::mcp::{self, ListError, Listing, ServerConnection};
use crate::tools::{MIN_SECRET_BYTES, Secrets};

/// A file with checked addresses, read secrets and prepared documents.
pub(in crate::service) struct PreparedFile {
    pub(super) file: WorkspaceFile,
    /// The documents of each knowledge base, in the file's order.
    pub(super) documents: Vec<Vec<PreparedDocument>>,
    pub(super) secrets: HashMap<EnvName, SecretString>,
    pub(super) warnings: Vec<String>,
    /// The listed tools or the error of each MCP server, by the slug of its tool.
    pub(super) listings: HashMap<String, Result<Listing, ListError>>,
}

impl PreparedFile {
    pub(in crate::service) async fn read(context: &ApplyContext<'_>, text: &str) -> Result<Self, ApplyError> {
        let file = WorkspaceFile::parse(text)?;
        check_addresses(&file, context.allow_hosts)?;
        let mut secrets = HashMap::new();
        for name in file.secrets() {
            let missing = || ApplyError::SecretMissing(name.env.clone());
            let secret =
                (context.secret)(&name.env).map_err(ApplyError::SecretUnreadable)?.ok_or_else(missing)?;
            if secret.expose_secret().trim().len() < MIN_SECRET_BYTES {
                return Err(ApplyError::SecretTooShort(name.env.clone()));
            }
            secrets.insert(name.clone(), secret);
        }
        check_signing_secrets(&file, &secrets)?;
        if (!secrets.is_empty() || !file.webhook_endpoints.is_empty()) && context.seal.is_none() {
            return Err(ApplyError::NoSecretKey);
        }
        let warnings = unknown_connections(context, &file);
        let documents = read_documents(context, &file).await?;
        let listings = list_mcp_servers(context, &file, &secrets).await?;
        Ok(Self { file, documents, secrets, warnings, listings })
    }
}

/// Reads and prepares all documents. The error names the first one that cannot be read, with its line in the file.
async fn read_documents(
    context: &ApplyContext<'_>,
    file: &WorkspaceFile,
) -> Result<Vec<Vec<PreparedDocument>>, ApplyError> {
    let mut by_base = Vec::new();
    let total = file.knowledge_bases.iter().map(|base| base.documents.len()).sum();
    let mut number = 0;
    for base in &file.knowledge_bases {
        let mut documents = Vec::new();
        for document in &base.documents {
            number += 1;
            (context.progress)(ApplyStep::ReadDocument { number, total });
            let (format, charset, bytes) = match &document.source {
                FileSource::Text(text) => (Format::Markdown, Some(Charset::UTF_8), text.clone().into_bytes()),
                FileSource::Path(path, format) => {
                    let read = read_file(context.folder, Path::new(path));
                    (
                        *format,
                        None,
                        read.map_err(|error| document.location.with_problem(format_args!("{path} {error}")))?,
                    )
                }
            };
            let (slug, title) = (document.slug.clone(), document.title.clone());
            let source = DocumentSource {
                slug,
                title,
                url: document.url.clone(),
                format,
                charset,
                file: bytes.into(),
            };
            let ready = context.document_extractor.ingest(source, base.language).await;
            documents.push(
                ready
                    .map_err(|error| document.location.with_problem(format_args!("the document {error}")))?,
            );
        }
        by_base.push(documents);
    }
    Ok(by_base)
}

fn read_file(folder: Option<&Path>, path: &Path) -> Result<Vec<u8>, String> {
    let folder = folder.ok_or("cannot be read: this file has no folder")?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let read = File::open(folder.join(path)).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

/// Lists the tools of each MCP server of the file.
async fn list_mcp_servers(
    context: &ApplyContext<'_>,
    file: &WorkspaceFile,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<HashMap<String, Result<Listing, ListError>>, ApplyError> {
    let workspace_hosts = allow_hosts(file)?;
    let servers = file.tools.iter().filter_map(|tool| Some((tool.slug.clone(), tool.config.mcp()?)));
    let servers: Vec<_> = servers.collect();
    if !servers.is_empty() {
        (context.progress)(ApplyStep::ListTools { servers: servers.len() });
    }
    let requests = servers.into_iter().map(async |(slug, server)| {
        (slug, list_server_tools(context, server, &workspace_hosts, secrets).await)
    });
    Ok(futures::future::join_all(requests).await.into_iter().collect())
}

async fn list_server_tools(
    context: &ApplyContext<'_>,
    server: &McpServer<EnvName>,
    workspace_hosts: &AllowHosts,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<Listing, ListError> {
    let mut masked = Secrets::new(None);
    let server = server.try_map(|name| {
        let secret = secrets.get(name).cloned().unwrap_or_default();
        masked.hide(secret.expose_secret());
        Ok::<_, ListError>(secret)
    })?;
    let connection = ServerConnection::new(&server, context.outbound, workspace_hosts);
    let connection = connection.map_err(ListError::Refused)?;
    let listing = mcp::list(connection, server.allow.as_deref(), &masked).await?;
    match listing.missing.first() {
        Some(name) => Err(ListError::Refused(format!("it has no tool {name:?}"))),
        None => Ok(listing),
    }
}

fn allow_hosts(file: &WorkspaceFile) -> Result<AllowHosts, ApplyError> {
    AllowHosts::parse(&file.workspace.allow_hosts)
        .map_err(|error| ApplyError::Refused(format!("workspace.allow_hosts: {error}")))
}

/// Warnings about fallbacks that would be skipped.
fn unknown_connections(context: &ApplyContext<'_>, file: &WorkspaceFile) -> Vec<String> {
    let mut warnings = Vec::new();
    for assistant in &file.assistants {
        for ModelRef { connection, model } in &assistant.version.fallbacks {
            if !(context.has_connection)(connection) {
                let slug = &assistant.version.slug;
                warnings.push(format!(
                    "assistant {slug}: the fallback to {model} is passed over, for the configuration has no \
                     connection \"{connection}\""
                ));
            }
        }
    }
    warnings
}

/// Refuses malformed signing secrets.
fn check_signing_secrets(
    file: &WorkspaceFile,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<(), ApplyError> {
    for endpoint in &file.webhook_endpoints {
        let secret = endpoint.secret.as_ref().and_then(|name| secrets.get(name));
        if let Some(Err(error)) = secret.map(|secret| SigningSecret::parse(secret.expose_secret())) {
            let slug = &endpoint.slug;
            return Err(ApplyError::Refused(format!("the secret of webhook endpoint \"{slug}\": {error}")));
        }
    }
    Ok(())
}

/// Refuses addresses that every call would refuse.
fn check_addresses(file: &WorkspaceFile, global_hosts: &AllowHosts) -> Result<(), ApplyError> {
    let workspace_hosts = allow_hosts(file)?;
    for tool in &file.tools {
        let Some(url) = tool.config.url() else { continue };
        check_url(url, &[global_hosts, &workspace_hosts]).map_err(|refused| {
            ApplyError::Refused(format!("the url of tool \"{}\": {refused}", tool.slug))
        })?;
    }
    for calendar in &file.calendars {
        if let Some(caldav) = &calendar.caldav {
            check_url(&caldav.url, &[global_hosts, &workspace_hosts]).map_err(|refused| {
                ApplyError::Refused(format!("the caldav.url of calendar \"{}\": {refused}", calendar.slug))
            })?;
            let is_plain = caldav.url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
            let is_named =
                [global_hosts, &workspace_hosts].iter().any(|hosts| hosts.contains_host_of(&caldav.url));
            if caldav.password.is_some() && is_plain && !is_named {
                return Err(ApplyError::Refused(format!(
                    "the caldav.url of calendar \"{}\": a password is sent over https only, or to a host that \
                     allow_hosts names",
                    calendar.slug
                )));
            }
        }
    }
    for endpoint in &file.webhook_endpoints {
        check_url(&endpoint.url, &[global_hosts, &workspace_hosts]).map_err(|refused| {
            ApplyError::Refused(format!("the url of webhook endpoint \"{}\": {refused}", endpoint.slug))
        })?;
    }
    Ok(())
}
