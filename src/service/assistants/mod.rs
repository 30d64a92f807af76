//! Assistants through the API: created, changed, archived and restored. Each change of what an assistant is compiled from makes a new
//! version; turns that are already running continue with the old one. [`versions`] has the versions, and
//! [`identity_secrets`] the secrets of sites.

pub(in crate::service) mod compile;
pub mod identity_secrets;
pub mod versions;

use serde_json::Value;

use super::configuration::{Change, Fields, invalid, managed_by_file, take_slug, without_nulls};
use super::write_error::write_error;
use super::{Services, resources};
use crate::domain::account::Account;
use crate::domain::assistant::{Assistant, AssistantVersion, MAX_ASSISTANTS, MAX_VERSION_BYTES};
use crate::domain::audit::{AuditAction, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, ToolId, WorkspaceId};
use crate::domain::invalid_field::InvalidField;
use crate::domain::tool::check_names;
use crate::formats::json_config;
use crate::store::assistants::{self, AssistantRow};
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, resource, stored_json, workspaces};
use compile::Compilation;

/// A written assistant.
#[derive(Debug)]
pub struct WrittenAssistant {
    pub assistant: Assistant,
    /// Settings that have no effect, as `rejoinder apply` warns of them.
    pub warnings: Vec<String>,
}

/// Creates an assistant.
pub async fn create(
    services: &Services,
    account: &Account,
    fields: Fields,
) -> Result<WrittenAssistant, Error> {
    json_config::check_names(fields.keys(), &AssistantVersion::<String>::FIELDS).map_err(invalid)?;
    let mut fields = without_nulls(fields);
    let slug = take_slug(&mut fields, |slug| slug.parse::<AssistantId>().is_ok())?;
    fields.insert("slug".to_owned(), slug.into());
    let source: AssistantVersion<String> = read_source(fields)?;
    let id = AssistantId(services.ids.uuid_v7(services.clock.as_ref()));
    let put = Put { services, account, action: AuditAction::Created };
    let write = async |mut conn: Conn<'_>| {
        workspaces::lock(conn.reborrow(), &[account.workspace].into()).await?;
        if let Some(taken) = check_new(conn.reborrow(), account.workspace, &source.slug).await? {
            return Ok(Err(taken));
        }
        put.put(conn, Err(id), source.clone()).await
    };
    finish(services, services.db.write(account.workspace, write).await)
}

/// Changes the given fields. A field that is null gets its default.
pub async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    patch: Fields,
) -> Result<WrittenAssistant, Error> {
    check_patch(&patch)?;
    let put = Put { services, account, action: AuditAction::Updated };
    let write = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), account.workspace, name).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        if row.archived {
            let text =
                format!("The assistant '{}' is archived: restore one of its versions first.", row.slug);
            return Ok(Err(Error::Conflict(text)));
        }
        let source = source_of(&row)?;
        match merge(&source, &patch) {
            Ok(source) => put.put(conn, Ok(row), source).await,
            Err(error) => Ok(Err(error)),
        }
    };
    finish(services, services.db.write(account.workspace, write).await)
}

/// Archives an assistant. Its conversations stay and are still answered; there are no new ones. Archiving it again changes nothing.
pub async fn archive(services: &Services, account: &Account, name: &str) -> Result<Assistant, Error> {
    let (workspace, now) = (account.workspace, services.clock.now());
    let write = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), workspace, name).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        if !row.archived {
            let settings = workspaces::settings(conn.reborrow(), &[workspace].into()).await?.pop();
            if settings.is_some_and(|settings| settings.default_assistant == Some(row.id)) {
                let text = format!("The assistant '{}' is the default of the workspace.", row.slug);
                return Ok(Err(Error::Conflict(text)));
            }
            assistants::archive(conn.reborrow(), workspace, row.id, now).await?;
            let change = Change {
                action: AuditAction::Archived,
                object: AuditObject::new(ObjectKind::Assistant, row.id, Some(&row.slug)),
                before: Value::Null,
                after: Value::Null,
            };
            change.record(conn.reborrow(), services, account).await?;
        }
        let archived = resource::find::<Assistant>(conn, workspace, row.id).await?;
        Ok(archived.ok_or_else(|| AssistantId::not_found(name)))
    };
    services.db.write(workspace, write).await.map_err(write_error)?
}

/// The assistant with this id, as it was sent, archived or not.
pub async fn read(services: &Services, account: &Account, name: &str) -> Result<Assistant, Error> {
    resources::find(services, account, name).await
}

fn finish(
    services: &Services,
    written: Result<Result<Assistant, Error>, StoreError>,
) -> Result<WrittenAssistant, Error> {
    let assistant = written.map_err(write_error)??;
    let source = assistant.version.source();
    let warnings = source.warnings(|connection| services.model_connections.contains(connection));
    Ok(WrittenAssistant { assistant, warnings })
}

fn read_source(fields: Fields) -> Result<AssistantVersion<String>, Error> {
    let source: AssistantVersion<String> = json_config::read(fields).map_err(invalid)?;
    source.check().map_err(invalid)?;
    Ok(source)
}

/// The fields that a change may have: a slug never changes.
#[must_use]
pub fn patch_fields() -> Vec<&'static str> {
    AssistantVersion::<String>::FIELDS.into_iter().filter(|field| *field != "slug").collect()
}

fn check_patch(patch: &Fields) -> Result<(), Error> {
    let known = patch_fields();
    json_config::check_names(patch.keys(), &known).map_err(invalid)?;
    if patch.is_empty() {
        let known: Vec<String> = known.into_iter().map(|field| format!("'{field}'")).collect();
        return Err(Error::invalid("body", format!("One of the fields {} is required.", known.join(", "))));
    }
    Ok(())
}

/// The assistant with other values of the given fields.
fn merge(source: &AssistantVersion<String>, patch: &Fields) -> Result<AssistantVersion<String>, Error> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(source) else {
        return Err(Error::internal("an assistant is no JSON object"));
    };
    for (name, value) in patch {
        fields.insert(name.clone(), value.clone());
    }
    read_source(without_nulls(fields))
}

fn source_of(row: &AssistantRow) -> Result<AssistantVersion<String>, StoreError> {
    let version: AssistantVersion = stored_json::from_str(&row.compiled).map_err(StoreError::unreadable)?;
    Ok(version.source())
}

/// Locks the state of the workspace, and reads an assistant that the API may change.
async fn lock(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Result<AssistantRow, Error>, StoreError> {
    let id = match AssistantId::parse(name) {
        Ok(id) => id,
        Err(error) => return Ok(Err(error)),
    };
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    Ok(match assistants::find_row(conn, workspace, id).await? {
        None => Err(AssistantId::not_found(name)),
        Some(row) if row.from_file => Err(managed_by_file("assistant", &row.slug)),
        Some(row) => Ok(row),
    })
}

/// The error of a new assistant whose slug is taken, or that is one too many.
async fn check_new(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    slug: &str,
) -> Result<Option<Error>, StoreError> {
    let text = match assistants::find_slug(conn.reborrow(), workspace, slug).await? {
        Some((id, true)) => format!(
            "The archived assistant {id} has the slug '{slug}': restore one of its versions, or choose another slug."
        ),
        Some((_, false)) => format!("There is an assistant with the slug '{slug}' already."),
        None if assistants::count_of_api(conn, workspace).await? >= MAX_ASSISTANTS => {
            format!("A workspace can have {MAX_ASSISTANTS} assistants, archived ones included.")
        }
        None => return Ok(None),
    };
    Ok(Some(Error::Conflict(text)))
}

/// A write of an assistant, under the lock of its workspace's state.
#[derive(Clone, Copy)]
struct Put<'a> {
    services: &'a Services,
    account: &'a Account,
    action: AuditAction,
}

impl Put<'_> {
    /// Compiles and writes an assistant that is there, or that gets this id. Nothing is written if nothing changes.
    async fn put(
        self,
        mut conn: Conn<'_>,
        old: Result<AssistantRow, AssistantId>,
        mut source: AssistantVersion<String>,
    ) -> Result<Result<Assistant, Error>, StoreError> {
        let workspace = self.account.workspace;
        let tools = match find_tools(conn.reborrow(), workspace, &mut source).await? {
            Ok(tools) => tools,
            Err(error) => return Ok(Err(error)),
        };
        let compiled = match compile_version(&source, &tools)? {
            Ok(compiled) => compiled,
            Err(error) => return Ok(Err(error)),
        };
        let id = old.as_ref().map_or_else(|id| *id, |row| row.id);
        let old = old.ok();
        if old.as_ref().is_none_or(|old| old.archived || !is_same(&old.compiled, &compiled)) {
            self.write(conn.reborrow(), (id, old), &source, compiled).await?;
        }
        let written = resource::find::<Assistant>(conn, workspace, id).await?;
        Ok(written.ok_or_else(|| AssistantId::not_found(id)))
    }

    async fn write(
        self,
        mut conn: Conn<'_>,
        (id, old): (AssistantId, Option<AssistantRow>),
        source: &AssistantVersion<String>,
        compiled: String,
    ) -> Result<(), StoreError> {
        let now: Micros = self.services.clock.now();
        let before = old.as_ref().map(|old| audited(&source_of(old)?, old.current_version)).transpose()?;
        let row = AssistantRow {
            id,
            slug: source.slug.clone(),
            name: source.name.clone(),
            current_version: old.map_or(0, |old| old.current_version) + 1,
            pause_on_agent_message: source.pause_on_agent_message,
            from_file: false,
            archived: false,
            compiled,
        };
        compile::put_version(conn.reborrow(), self.account.workspace, &row, now).await?;
        let change = Change {
            action: self.action,
            object: AuditObject::new(ObjectKind::Assistant, id, Some(&row.slug)),
            before: before.unwrap_or_default(),
            after: audited(source, row.current_version)?,
        };
        change.record(conn, self.services, self.account).await
    }
}

/// An assistant for the audit log.
fn audited(source: &AssistantVersion<String>, version: i64) -> Result<Value, StoreError> {
    let mut fields = serde_json::to_value(source).map_err(StoreError::unreadable)?;
    fields["version"] = version.into();
    Ok(fields)
}

fn is_same(stored: &str, compiled: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    value(stored) == value(compiled)
}

/// Compiles the tools that an assistant names, and replaces their ids by slugs.
async fn find_tools(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    source: &mut AssistantVersion<String>,
) -> Result<Result<Vec<Compilation>, Error>, StoreError> {
    let mut compilations = Vec::new();
    let mut slugs: Vec<String> = Vec::new();
    for (at, name) in source.tools.iter().enumerate() {
        let error =
            |problem: String| Ok(Err(invalid(InvalidField::new(format_args!("tools[{at}]"), problem))));
        let Some(row) = find_tool(conn.reborrow(), workspace, name).await? else {
            return error(format!("there is no tool \"{name}\""));
        };
        if slugs.contains(&row.slug) {
            return error(format!("the tool \"{}\" is there twice", row.slug));
        }
        let Some(compilation) = compile::compile_row(conn.reborrow(), workspace, &row).await? else {
            return error(format!("the calendar of the tool \"{}\" is archived", row.slug));
        };
        slugs.push(row.slug);
        compilations.push(compilation);
    }
    source.tools = slugs;
    Ok(Ok(compilations))
}

/// The tool with this id or slug, unless it is archived.
async fn find_tool(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<ConfigRow>, StoreError> {
    if let Ok(id) = name.parse::<ToolId>() {
        return workspace_config::find(conn, Section::Tools, workspace, id.0).await;
    }
    let row = workspace_config::find_slug(conn, Section::Tools, workspace, name).await?;
    Ok(row.filter(|row| !row.archived))
}

/// The text of the version, or the error of tools that cannot be together.
fn compile_version(
    source: &AssistantVersion<String>,
    tools: &[Compilation],
) -> Result<Result<String, Error>, StoreError> {
    let functions: Vec<_> = tools.iter().flat_map(|tool| tool.functions.iter().cloned()).collect();
    if let Err(problem) = check_names(&functions) {
        return Ok(Err(invalid(InvalidField::new("tools", problem))));
    }
    let compiled = compile::version_text(source, tools)?;
    if compiled.len() > MAX_VERSION_BYTES {
        let problem = format!("with all their definitions, it is larger than {MAX_VERSION_BYTES} bytes");
        return Ok(Err(invalid(InvalidField::new("tools", problem))));
    }
    Ok(Ok(compiled))
}
