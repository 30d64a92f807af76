//! Refreshes the tool list of an MCP server. If it has changed, the assistants that use it get new versions; turns that
//! are already running continue with the old ones.

use serde_json::{Value, json};

use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::tool::{McpListing, McpServer, NamedTool, Tool};
use crate::outbound::AllowHosts;
use crate::service::assistants::compile::{self, Calendars, Incompatible, ToolChange};
use crate::service::configuration::Change;
use crate::service::write_error::write_error;
use crate::service::{Services, resources, workspace_hosts};
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json, workspaces};
use crate::tools::mcp::{self, ListError, Listing, ServerConnection};
use crate::tools::{Secrets, ToolSecrets};

/// The outcome of a refresh.
#[derive(Debug)]
pub struct RefreshResult {
    pub tool: NamedTool,
    /// Whether the list differs from the stored one.
    pub changed: bool,
    /// Omitted tools, and allowed names that the server does not list.
    pub warnings: Vec<String>,
}

/// The outcome of storing a new list.
enum WriteOutcome {
    Done {
        tool: Tool,
        changed: bool,
    },
    /// An apply or another refresh has changed the tool meanwhile.
    Conflict,
    /// The new list is invalid for an assistant.
    Refused(String),
}

/// Lists the tools of the server again. Nothing changes if the server cannot be reached.
pub async fn refresh(services: &Services, account: &Account, name: &str) -> Result<RefreshResult, Error> {
    let named = resources::find::<NamedTool>(services, account, name).await?;
    let Some(server) = named.tool.config.mcp() else {
        let text = format!("The tool '{}' has no list: it is of no MCP server.", named.slug);
        return Err(Error::Conflict(text));
    };
    let _permit = services.test_call_limiter.acquire(account.workspace).await?;
    let load = async |conn: Conn<'_>| workspace_hosts::load(conn, account.workspace).await;
    let allow_hosts = services.db.read(account.workspace, load).await?;
    let named_tool = (account.workspace, named.slug.as_str());
    let listing = fetch_listing(services, named_tool, server, &allow_hosts).await.map_err(|problem| {
        let again = if matches!(problem, ListError::Unavailable(_)) { " Please retry." } else { "" };
        Error::Conflict(format!(
            "The MCP server of the tool '{}' cannot be used: {problem}.{again}",
            named.slug
        ))
    })?;
    let now = services.clock.now();
    let listed = McpListing::next(listing.tools, named.tool.listing.as_ref(), now.timestamp());
    let write = async |conn: Conn<'_>| write(conn, (services, account), &named, listed, now).await;
    let outcome = services.db.write(account.workspace, write).await.map_err(write_error)?;
    match outcome {
        WriteOutcome::Done { tool, changed } => {
            let missing = listing.missing.iter().map(|name| format!("it has no tool {name:?}"));
            let warnings = listing.warnings.into_iter().chain(missing).collect();
            Ok(RefreshResult { tool: NamedTool { tool, ..named }, changed, warnings })
        }
        WriteOutcome::Conflict => {
            Err(Error::Conflict("The tool was changed meanwhile. Please retry.".to_owned()))
        }
        WriteOutcome::Refused(problem) => Err(Error::Conflict(problem)),
    }
}

pub(super) async fn fetch_listing(
    services: &Services,
    (workspace, tool): (WorkspaceId, &str),
    server: &McpServer,
    allow_hosts: &AllowHosts,
) -> Result<Listing, ListError> {
    let stored = services.seal_keys.as_deref().map(|keys| ToolSecrets { keys, workspace, tool });
    let mut secrets = Secrets::new(stored);
    let connection = ServerConnection::open(server, &services.tools.outbound, allow_hosts, &mut secrets);
    let connection = connection.map_err(ListError::Refused)?;
    mcp::list(connection, server.allow.as_deref(), &secrets).await
}

/// Stores the new list under the lock of the workspace's state, which guards its configuration, with an entry of the audit log.
async fn write(
    mut conn: Conn<'_>,
    (services, account): (&Services, &Account),
    named: &NamedTool,
    listed: McpListing,
    now: Micros,
) -> Result<WriteOutcome, StoreError> {
    let workspace = account.workspace;
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    let row = workspace_config::find(conn.reborrow(), Section::Tools, workspace, named.id.0).await?;
    let Some(row) = row else { return Ok(WriteOutcome::Conflict) };
    let mut tool: Tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    // The list was requested for the tool as it was then. Another process may have stored a newer list.
    if tool != named.tool {
        return Ok(WriteOutcome::Conflict);
    }
    if tool.listing.as_ref() == Some(&listed) {
        return Ok(WriteOutcome::Done { tool, changed: false });
    }
    let mut definition: Value = serde_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    definition["listing"] = serde_json::to_value(&listed).map_err(StoreError::unreadable)?;
    let before = tool.listing.replace(listed);
    let row = ConfigRow { text: definition.to_string(), ..row };
    let Some(compilation) = compile::compile(&row.slug, &row.text, &Calendars::new())? else {
        return Ok(WriteOutcome::Conflict);
    };
    let change = ToolChange { workspace, slug: &row.slug, compilation: &compilation };
    let affected = match change.affected(conn.reborrow()).await? {
        Ok(affected) => affected,
        Err(Incompatible { assistant, problem }) => {
            return Ok(WriteOutcome::Refused(format!(
                "The assistant '{assistant}' cannot use the tools that the MCP server lists: {problem}."
            )));
        }
    };
    change.write(conn.reborrow(), &affected, now).await?;
    workspace_config::put(conn.reborrow(), Section::Tools, workspace, &row, now).await?;
    let change = Change {
        action: AuditAction::Updated,
        object: AuditObject::new(ObjectKind::Tool, named.id, Some(&row.slug)),
        before: listed_names(before.as_ref()),
        after: listed_names(tool.listing.as_ref()),
    };
    change.record(conn, services, account).await?;
    Ok(WriteOutcome::Done { tool, changed: true })
}

/// The names of the listed tools, for the audit log.
fn listed_names(listing: Option<&McpListing>) -> Value {
    let names: Vec<&str> =
        listing.into_iter().flat_map(|listing| &listing.tools).map(|tool| tool.name.as_str()).collect();
    json!({ "tools": names })
}
