//! New versions of the assistants whose tools have changed. Turns that are already running continue with the old ones.

use std::collections::HashMap;

use serde_json::Value;

use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::CalendarSettings;
use crate::domain::clock::Micros;
use crate::domain::ids::{CalendarId, WorkspaceId};
use crate::domain::tool::{CompiledTool, Tool, check_names};
use crate::store::assistants::{self, AssistantRow};
use crate::store::workspace_config::{self, Section};
use crate::store::{Conn, StoreError, stored_json};

/// A tool that has changed.
#[derive(Debug)]
pub(in crate::service) struct ChangedTool<'a> {
    pub slug: &'a str,
    /// As the model sees it now: several tools of an MCP server.
    pub compiled: Vec<CompiledTool>,
    /// Its stored configuration, which may have fields that this version does not know; none if the compiled one replaces it.
    pub config: Option<&'a Value>,
}

/// An assistant that cannot use the tools as they are now, because two would have one name.
#[derive(Debug)]
pub(in crate::service) struct NameConflict {
    pub assistant: String,
    pub problem: String,
}

/// The tools of a workspace that are in use, by slug. The caller has locked the workspace's state, which guards them.
pub(in crate::service) async fn list_tools(
    conn: Conn<'_>,
    workspace: WorkspaceId,
) -> Result<Vec<(String, Tool)>, StoreError> {
    let rows = workspace_config::list(conn, Section::Tools, workspace).await?;
    let rows = rows.into_iter().filter(|row| !row.archived);
    rows.map(|row| {
        let tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
        Ok((row.slug, tool))
    })
    .collect()
}

/// The slugs of the tools that use a calendar or a knowledge base, as an error names them; none if no tool does.
pub(in crate::service) async fn list_users(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    is_user: impl Fn(&Tool) -> bool,
) -> Result<Option<String>, StoreError> {
    let tools = list_tools(conn, workspace).await?;
    let users: Vec<String> =
        tools.iter().filter(|(_, tool)| is_user(tool)).map(|(slug, _)| format!("'{slug}'")).collect();
    Ok((!users.is_empty()).then(|| users.join(", ")))
}

/// Gives each assistant that uses a calendar a version with its new settings. The caller has locked the workspace's state.
pub(in crate::service) async fn recompile_users_of_calendar(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    (calendar, settings): (CalendarId, &CalendarSettings),
    now: Micros,
) -> Result<Result<(), NameConflict>, StoreError> {
    let tools = list_tools(conn.reborrow(), workspace).await?;
    let calendars = HashMap::from([(calendar, settings.clone())]);
    let users = tools.iter().filter(|(_, tool)| tool.config.calendar() == Some(&calendar));
    let changed: Vec<_> = users
        .map(|(slug, tool)| ChangedTool { slug, compiled: tool.compile(slug, &calendars), config: None })
        .collect();
    recompile(conn, workspace, &changed, now).await
}

/// Gives each assistant in use that has some of these tools one new version, in which they replace the old ones at the same
/// position. With a conflict nothing is written. The caller has locked the workspace's state.
pub(in crate::service) async fn recompile(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    changed: &[ChangedTool<'_>],
    now: Micros,
) -> Result<Result<(), NameConflict>, StoreError> {
    if changed.is_empty() {
        return Ok(Ok(()));
    }
    let mut versions = Vec::new();
    for old in assistants::list_all(conn.reborrow(), workspace).await? {
        match next_version(&old, changed)? {
            Ok(version) => versions.extend(version),
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    for version in versions {
        assistants::put(conn.reborrow(), workspace, &version, now).await?;
        assistants::insert_version(conn.reborrow(), workspace, &version, now).await?;
    }
    Ok(Ok(()))
}

/// The next version of an assistant. `None` if it uses none of the tools, or they are the same to it.
fn next_version(
    old: &AssistantRow,
    changed: &[ChangedTool<'_>],
) -> Result<Result<Option<AssistantRow>, NameConflict>, StoreError> {
    let mut version: AssistantVersion =
        stored_json::from_str(&old.compiled).map_err(StoreError::unreadable)?;
    let mut compiled = old.compiled.clone();
    for tool in changed.iter().filter(|_| !old.archived) {
        let Some(first) = version.tools.iter().position(|used| used.slug == tool.slug) else { continue };
        version.tools.retain(|used| used.slug != tool.slug);
        version.tools.splice(first..first, tool.compiled.iter().cloned());
        compiled = replace_tools(&compiled, tool).map_err(StoreError::unreadable)?;
    }
    if compiled == old.compiled {
        return Ok(Ok(None));
    }
    if let Err(problem) = check_names(&version.tools) {
        return Ok(Err(NameConflict { assistant: old.slug.clone(), problem }));
    }
    Ok(Ok(Some(AssistantRow { compiled, current_version: old.current_version + 1, ..old.clone() })))
}

/// The stored text of a version with other tools of this slug. Fields of a newer version stay, which the types do not have.
fn replace_tools(text: &str, changed: &ChangedTool<'_>) -> Result<String, serde_json::Error> {
    let mut version: Value = serde_json::from_str(text)?;
    if let Some(stored) = version.get_mut("tools").and_then(Value::as_array_mut) {
        let first = stored.iter().position(|tool| tool["slug"] == changed.slug).unwrap_or(stored.len());
        stored.retain(|tool| tool["slug"] != changed.slug);
        let new = changed.compiled.iter().map(serde_json::to_value);
        let mut new = new.collect::<Result<Vec<_>, _>>()?;
        if let Some(config) = changed.config {
            for tool in &mut new {
                tool["kind"] = config.clone();
            }
        }
        stored.splice(first..first, new);
    }
    Ok(version.to_string())
}
