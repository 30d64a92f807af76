//! Tools through the API: created, changed and archived. The assistants that use a changed tool get new versions; turns that are
//! already running continue with the old ones.

use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::draft::{Draft, hidden_values, redacted};
use super::refresh::fetch_listing;
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditObject, ObjectKind};
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, KnowledgeBaseId, ResourceId as _, ToolId, WorkspaceId};
use crate::domain::invalid_field::InvalidField;
use crate::domain::seal::{SealedSecret, SecretContext, SecretField};
use crate::domain::signature::SigningSecret;
use crate::domain::tool::{
    GivenSecret, MAX_WORKSPACE_TOOLS, McpListing, McpServer, NamedTool, Tool, ToolConfig,
};
use crate::outbound::{AllowHosts, check_url};
use crate::service::assistants::compile::{self, Incompatible, ToolChange};
use crate::service::configuration::{Change, Fields, invalid, managed_by_file, quote};
use crate::service::write_error::write_error;
use crate::service::{Services, resources, workspace_hosts};
use crate::store::knowledge::knowledge_bases;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json, tools, workspaces};
use crate::tools::MIN_SECRET_BYTES;
use crate::tools::mcp::ListError;

/// How often a change is tried, if another one came first.
const MAX_ATTEMPTS: usize = 3;

const NO_KEY: &str = "This server cannot keep secrets: its operator has to set REJOINDER_SECRET_KEY.";

/// A written tool.
#[derive(Debug)]
pub struct WrittenTool {
    pub tool: NamedTool,
    /// Tools of an MCP server that were left out, with the reasons.
    pub warnings: Vec<String>,
}

/// Creates a tool. An MCP server is asked for its tools first.
pub async fn create(services: &Services, account: &Account, fields: Fields) -> Result<WrittenTool, Error> {
    let draft = Draft::create(fields)?;
    let slug = draft.slug.clone();
    let (tool, warnings) = build(services, account, draft, None).await?;
    let id = ToolId(services.ids.uuid_v7(services.clock.as_ref()));
    let named = NamedTool { id, slug, tool, from_file: false };
    let write = Write { services, account, named: &named };
    let created = async |conn: Conn<'_>| write.create(conn).await;
    let id = services.db.write(account.workspace, created).await.map_err(write_error)??;
    Ok(WrittenTool { tool: NamedTool { id, ..named }, warnings })
}

/// Changes the given fields, as `Draft::update` describes. An MCP server is asked for its tools if anything but the description
/// changes.
pub async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    patch: &Fields,
) -> Result<WrittenTool, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let old = resources::find::<NamedTool>(services, account, name).await?;
        if old.from_file {
            return Err(managed_by_file("tool", &old.slug));
        }
        let draft = Draft::update(&old, patch)?;
        let (tool, warnings) = build(services, account, draft, Some(&old)).await?;
        let named = NamedTool { tool, ..old.clone() };
        let write = Write { services, account, named: &named };
        let updated = async |conn: Conn<'_>| write.update(conn, &old).await;
        if services.db.write(account.workspace, updated).await.map_err(write_error)?? {
            return Ok(WrittenTool { tool: named, warnings });
        }
    }
    Err(Error::Conflict("The tool was changed meanwhile. Please retry.".to_owned()))
}

/// Archives a tool that no assistant uses.
pub async fn archive(services: &Services, account: &Account, name: &str) -> Result<NamedTool, Error> {
    let named = resources::find::<NamedTool>(services, account, name).await?;
    if named.from_file {
        return Err(managed_by_file("tool", &named.slug));
    }
    let (workspace, now) = (account.workspace, services.clock.now());
    let archive = async |mut conn: Conn<'_>| {
        workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
        let row = workspace_config::find(conn.reborrow(), Section::Tools, workspace, named.id.0).await?;
        if row.is_none() {
            return Ok(Err(ToolId::not_found(name)));
        }
        let users = compile::users(conn.reborrow(), workspace, &named.slug).await?;
        if !users.is_empty() {
            let text = format!("The tool '{}' is used by the assistants {}.", named.slug, quote(&users));
            return Ok(Err(Error::Conflict(text)));
        }
        workspace_config::archive(conn.reborrow(), Section::Tools, workspace, named.id.0, now).await?;
        let change = Change {
            action: AuditAction::Archived,
            object: AuditObject::new(ObjectKind::Tool, named.id, Some(&named.slug)),
            before: Value::Null,
            after: Value::Null,
        };
        change.record(conn, services, account).await?;
        Ok(Ok(()))
    };
    services.db.write(workspace, archive).await.map_err(write_error)??;
    Ok(named)
}

/// Resolves and checks a draft, and lists the tools of its MCP server. Nothing is locked meanwhile.
async fn build(
    services: &Services,
    account: &Account,
    draft: Draft,
    old: Option<&NamedTool>,
) -> Result<(Tool, Vec<String>), Error> {
    let workspace = account.workspace;
    let read = async |conn: Conn<'_>| References::read(conn, workspace, &draft).await;
    let references = services.db.read(workspace, read).await?;
    let sealing = Sealing { services, workspace, slug: &draft.slug, old };
    let mut config = draft.config.try_map(
        |calendar| references.calendar(calendar),
        |base| references.knowledge_base(base),
        |field, secret| sealing.seal(field, secret),
    )?;
    for (field, secret) in draft.kept {
        config.set_secret(field.as_field(), secret);
    }
    let label = draft.given.label().map_err(invalid)?;
    let spec = config.check(&draft.slug, draft.given).map_err(invalid)?;
    if let Some(url) = config.url() {
        check_url(url, &[&services.allow_hosts, &references.allow_hosts]).map_err(|refused| {
            Error::invalid("url", format!("Field 'url' is refused: {refused}{}.", refused.remedy()))
        })?;
    }
    let (listing, warnings) = match (config.mcp(), old) {
        (None, _) => (None, Vec::new()),
        (Some(_), Some(old)) if old.tool.config == config => (old.tool.listing.clone(), Vec::new()),
        (Some(server), old) => {
            let old = old.and_then(|old| old.tool.listing.as_ref());
            let (listing, warnings) =
                list(services, (workspace, &draft.slug), server, &references.allow_hosts, old).await?;
            (Some(listing), warnings)
        }
    };
    Ok((Tool { spec, label, config, listing }, warnings))
}

/// Asks a server for its tools.
async fn list(
    services: &Services,
    (workspace, slug): (WorkspaceId, &str),
    server: &McpServer,
    allow_hosts: &AllowHosts,
    old: Option<&McpListing>,
) -> Result<(McpListing, Vec<String>), Error> {
    let _permit = services.test_call_limiter.acquire(workspace).await?;
    let unusable = |error: &ListError| {
        let again = if matches!(error, ListError::Unavailable(_)) { " Please retry." } else { "" };
        Error::Conflict(format!("The MCP server cannot be used: {error}.{again}"))
    };
    let listing = fetch_listing(services, (workspace, slug), server, allow_hosts).await;
    let listing = listing.map_err(|error| unusable(&error))?;
    if let Some(name) = listing.missing.first() {
        let mut allow = server.allow.iter().flatten();
        let at = allow.position(|allowed| allowed == name).unwrap_or_default();
        let error = ListError::NoSuchTool { name: name.clone(), listed: listing.listed };
        let problem = format_args!("the MCP server cannot be used: {error}");
        return Err(invalid(InvalidField::new(format_args!("allow[{at}]"), problem)));
    }
    let now = services.clock.now().timestamp();
    Ok((McpListing::next(listing.tools, old, now), listing.warnings))
}

/// What a draft refers to.
struct References {
    calendar: Option<CalendarId>,
    knowledge_base: Option<KnowledgeBaseId>,
    /// The private hosts that the workspace may reach.
    allow_hosts: AllowHosts,
}

impl References {
    async fn read(mut conn: Conn<'_>, workspace: WorkspaceId, draft: &Draft) -> Result<Self, StoreError> {
        let calendar = match draft.config.calendar() {
            Some(name) => find_calendar(conn.reborrow(), workspace, name).await?,
            None => None,
        };
        let knowledge_base = match draft.config.knowledge_base() {
            Some(name) => match name.parse::<KnowledgeBaseId>() {
                Ok(id) => {
                    let base = knowledge_bases::find(conn.reborrow(), workspace, id).await?;
                    base.filter(|base| base.archived_at.is_none()).map(|base| base.id)
                }
                Err(_) => knowledge_bases::find_slug(conn.reborrow(), workspace, name).await?,
            },
            None => None,
        };
        let allow_hosts = workspace_hosts::load(conn, workspace).await?;
        Ok(Self { calendar, knowledge_base, allow_hosts })
    }

    fn calendar(&self, name: &str) -> Result<CalendarId, Error> {
        let problem = || InvalidField::new("calendar", format_args!("there is no calendar \"{name}\""));
        self.calendar.ok_or_else(|| invalid(problem()))
    }

    fn knowledge_base(&self, name: &str) -> Result<KnowledgeBaseId, Error> {
        let problem =
            || InvalidField::new("knowledge_base", format_args!("there is no knowledge base \"{name}\""));
        self.knowledge_base.ok_or_else(|| invalid(problem()))
    }
}

async fn find_calendar(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<CalendarId>, StoreError> {
    let row = match name.parse::<CalendarId>() {
        Ok(id) => workspace_config::find(conn, Section::Calendars, workspace, id.0).await?,
        Err(_) => workspace_config::find_slug(conn, Section::Calendars, workspace, name).await?,
    };
    Ok(row.filter(|row| !row.archived).map(|row| CalendarId(row.id)))
}

/// Seals the secrets of a tool.
struct Sealing<'a> {
    services: &'a Services,
    workspace: WorkspaceId,
    slug: &'a str,
    /// A secret that has not changed keeps its sealed text, so that nothing changes.
    old: Option<&'a NamedTool>,
}

impl Sealing<'_> {
    fn seal(&self, field: SecretField<'_>, secret: &GivenSecret) -> Result<SealedSecret, Error> {
        let GivenSecret(secret) = secret;
        let error = |problem: String| Err(invalid(InvalidField::new(field, problem)));
        if secret.expose_secret().trim().len() < MIN_SECRET_BYTES {
            return error(format!("a secret has at least {MIN_SECRET_BYTES} bytes"));
        }
        // A call trims its secret.
        if field == SecretField::Signing
            && let Err(problem) = SigningSecret::parse(secret.expose_secret().trim())
        {
            return error(format!("it is not usable: {problem}"));
        }
        let keys = self.services.seal_keys.as_deref().ok_or(Error::NotConfigured(NO_KEY))?;
        let context = SecretContext::of_tool(self.workspace, self.slug, field);
        let old = self.old.into_iter().flat_map(|old| old.tool.config.secrets());
        keys.seal_or_reuse(&context, secret, old, self.services.ids.bytes()).map_err(Error::internal)
    }
}

/// A write of a tool, under the lock of its workspace's state.
struct Write<'a> {
    services: &'a Services,
    account: &'a Account,
    named: &'a NamedTool,
}

impl Write<'_> {
    /// Inserts the tool. The slug of an archived one is used again, with its id.
    async fn create(&self, mut conn: Conn<'_>) -> Result<Result<ToolId, Error>, StoreError> {
        let (workspace, slug) = (self.account.workspace, &self.named.slug);
        workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
        let old = workspace_config::find_slug(conn.reborrow(), Section::Tools, workspace, slug).await?;
        let id = match old {
            Some(old) if old.from_file && old.archived => {
                let text = format!("The slug '{slug}' is that of an archived tool of a workspace file.");
                return Ok(Err(Error::Conflict(text)));
            }
            Some(old) if !old.archived => {
                let text = format!("There is a tool with the slug '{slug}' already.");
                return Ok(Err(Error::Conflict(text)));
            }
            Some(old) => old.id,
            None if tools::count_of_api(conn.reborrow(), workspace).await? >= MAX_WORKSPACE_TOOLS => {
                let text =
                    format!("A workspace can have {MAX_WORKSPACE_TOOLS} tools, archived ones included.");
                return Ok(Err(Error::Conflict(text)));
            }
            None => self.named.id.0,
        };
        let text = serde_json::to_string(&self.named.tool).map_err(StoreError::unreadable)?;
        let row = ConfigRow { id, slug: slug.clone(), text, from_file: false, archived: false };
        Ok(self.put(conn, row, None).await?.map(|()| ToolId(id)))
    }

    /// Updates the tool. Returns false if another change came first.
    async fn update(&self, mut conn: Conn<'_>, old: &NamedTool) -> Result<Result<bool, Error>, StoreError> {
        let workspace = self.account.workspace;
        workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
        let found = resource_of(conn.reborrow(), workspace, old).await?;
        let Some(row) = found else { return Ok(Ok(false)) };
        if self.named.tool == old.tool {
            return Ok(Ok(true));
        }
        let text = serde_json::to_string(&self.named.tool).map_err(StoreError::unreadable)?;
        Ok(self.put(conn, ConfigRow { text, ..row }, Some(old)).await?.map(|()| true))
    }

    async fn put(
        &self,
        mut conn: Conn<'_>,
        row: ConfigRow,
        old: Option<&NamedTool>,
    ) -> Result<Result<(), Error>, StoreError> {
        let (workspace, now) = (self.account.workspace, self.services.clock.now());
        let config = &self.named.tool.config;
        if let Some(gone) = missing_reference(conn.reborrow(), workspace, config).await? {
            return Ok(Err(gone));
        }
        let Some(compilation) = compile::compile_row(conn.reborrow(), workspace, &row).await? else {
            return Ok(Err(Error::Conflict("The calendar was archived meanwhile.".to_owned())));
        };
        let change = ToolChange { workspace, slug: &row.slug, compilation: &compilation };
        let affected = match change.affected(conn.reborrow()).await? {
            Ok(affected) => affected,
            Err(Incompatible { assistant, problem }) => {
                let text = format!("The assistant '{assistant}' cannot use the changed tool: {problem}.");
                return Ok(Err(Error::Conflict(text)));
            }
        };
        let audited = match (old.map(|old| redacted(&old.tool)).transpose(), redacted(&self.named.tool)) {
            (Ok(before), Ok(after)) => self.audit(old, before, after, ToolId(row.id)),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        change.write(conn.reborrow(), &affected, now).await?;
        workspace_config::put(conn.reborrow(), Section::Tools, workspace, &row, now).await?;
        audited.record(conn, self.services, self.account).await?;
        Ok(Ok(()))
    }

    /// A hidden value looks the same before and after, so the fields of changed ones are listed.
    fn audit(&self, old: Option<&NamedTool>, before: Option<Value>, mut after: Value, id: ToolId) -> Change {
        if let Some(old) = old {
            let known = hidden_values(&old.tool);
            let values = hidden_values(&self.named.tool).into_iter();
            let changed = values.filter(|(field, value)| known.get(field) != Some(value));
            let changed: Vec<Value> = changed.map(|(field, _)| field.into()).collect();
            if !changed.is_empty() {
                after["changed_values"] = changed.into();
            }
        }
        Change {
            action: if old.is_some() { AuditAction::Updated } else { AuditAction::Created },
            object: AuditObject::new(ObjectKind::Tool, id, Some(&self.named.slug)),
            before: before.unwrap_or_default(),
            after,
        }
    }
}

/// The row of a tool, if it still is as it was read.
async fn resource_of(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    old: &NamedTool,
) -> Result<Option<ConfigRow>, StoreError> {
    let Some(row) = workspace_config::find(conn, Section::Tools, workspace, old.id.0).await? else {
        return Ok(None);
    };
    let tool: Tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    Ok(Some(row).filter(|_| tool == old.tool))
}

/// The error of a tool whose knowledge base was deleted meanwhile. Its row stays locked.
async fn missing_reference(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    config: &ToolConfig,
) -> Result<Option<Error>, StoreError> {
    let Some(id) = config.knowledge_base() else { return Ok(None) };
    let base = knowledge_bases::lock(conn, workspace, *id).await?;
    let is_there = base.is_some_and(|base| base.archived_at.is_none());
    Ok((!is_there).then(|| Error::Conflict("The knowledge base was deleted meanwhile.".to_owned())))
}
