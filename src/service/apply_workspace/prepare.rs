//! Reads and checks the file, its documents and its secrets before anything is locked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::checks::Checks;
use super::{ApplyContext, ApplyError, ApplyStep};
use crate::domain::ids::WorkspaceId;
use crate::domain::knowledge::{Charset, Format, MAX_FILE, PreparedDocument};
use crate::domain::tool::McpServer;
use crate::formats::workspace_file::{EnvName, FileSource, WorkspaceFile};
use crate::outbound::AllowHosts;
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
        let checks = Checks { file: &file, text };
        let workspace_hosts = checks.allow_hosts()?;
        checks.check_addresses(&[context.allow_hosts, &workspace_hosts])?;
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
        checks.check_signing_secrets(&secrets)?;
        checks.check_identity_secrets(&secrets)?;
        if (!secrets.is_empty() || !file.webhook_endpoints.is_empty()) && context.seal.is_none() {
            return Err(ApplyError::NoSecretKey);
        }
        let warnings =
            file.assistants.iter().flat_map(|assistant| assistant.version.warnings(context.has_connection));
        let warnings = warnings.collect();
        let documents = read_documents(context, &file).await?;
        let listings = list_mcp_servers(context, &file, &workspace_hosts, &secrets).await;
        checks.check_listings(&listings)?;
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
            // The share of the operator, because the workspace may not exist yet.
            let operator = WorkspaceId(Uuid::nil());
            let ready = context.document_extractor.ingest(operator, source, base.language).await;
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
    let path = resolve_within(folder, path)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

/// The path of a file in a folder, with all links resolved. Only somebody who can write into the folder could replace the file
/// before it is opened.
fn resolve_within(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // The parent of a plain file name is an empty path.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().map_err(unreadable)?;
    let path = folder.join(path).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&folder) {
        return Err("leads out of the folder of this file".to_owned());
    }
    // To open a pipe would wait for its writer.
    if !path.is_file() {
        return Err("is not a regular file".to_owned());
    }
    Ok(path)
}

/// Lists the tools of each MCP server of the file.
async fn list_mcp_servers(
    context: &ApplyContext<'_>,
    file: &WorkspaceFile,
    workspace_hosts: &AllowHosts,
    secrets: &HashMap<EnvName, SecretString>,
) -> HashMap<String, Result<Listing, ListError>> {
    let servers = file.tools.iter().filter_map(|tool| Some((tool.slug.clone(), tool.config.mcp()?)));
    let servers: Vec<_> = servers.collect();
    if !servers.is_empty() {
        (context.progress)(ApplyStep::ListTools { servers: servers.len() });
    }
    let requests = servers.into_iter().map(async |(slug, server)| {
        (slug, list_server_tools(context, server, workspace_hosts, secrets).await)
    });
    futures::future::join_all(requests).await.into_iter().collect()
}

async fn list_server_tools(
    context: &ApplyContext<'_>,
    server: &McpServer<EnvName>,
    workspace_hosts: &AllowHosts,
    secrets: &HashMap<EnvName, SecretString>,
) -> Result<Listing, ListError> {
    let mut masked = Secrets::new(None);
    let server = server.try_map(|_, name| {
        let secret = secrets.get(name).cloned().unwrap_or_default();
        masked.hide(secret.expose_secret());
        Ok::<_, ListError>(secret)
    })?;
    let connection = ServerConnection::new(&server, context.outbound, workspace_hosts);
    let connection = connection.map_err(ListError::Refused)?;
    let listing = mcp::list(connection, server.allow.as_deref(), &masked).await?;
    match listing.missing.first() {
        Some(name) => Err(ListError::NoSuchTool { name: name.clone(), listed: listing.listed }),
        None => Ok(listing),
    }
}
