//! Compiles tools into versions of assistants. The stored texts of tools and calendars are copied as they are, with the fields of a
//! newer release that this one does not know.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::CalendarSettings;
use crate::domain::clock::Micros;
use crate::domain::ids::{AssistantId, CalendarId, WorkspaceId};
use crate::domain::tool::{CompiledTool, Tool, check_names};
use crate::service::tools::users;
use crate::store::assistants::{self, AssistantRow};
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json};

/// A tool as versions of assistants have it: several functions, if it is an MCP server.
#[derive(Clone, Debug)]
pub(in crate::service) struct Compilation {
    pub functions: Vec<CompiledTool>,
    /// The same as JSON.
    stored: Vec<Value>,
}

/// An assistant that cannot have a changed tool.
#[derive(Debug)]
pub(in crate::service) struct Incompatible {
    pub assistant: String,
    pub problem: String,
}

/// The stored settings of calendars.
pub(in crate::service) type Calendars = HashMap<CalendarId, String>;

/// Compiles a stored tool. Without its calendar there is nothing to compile.
pub(in crate::service) fn compile(
    slug: &str,
    definition: &str,
    calendars: &Calendars,
) -> Result<Option<Compilation>, StoreError> {
    let tool: Tool = stored_json::from_str(definition).map_err(StoreError::unreadable)?;
    let definition: Value = serde_json::from_str(definition).map_err(StoreError::unreadable)?;
    let mut kind = definition.get("config").cloned().unwrap_or_default();
    let mut settings = HashMap::new();
    if let Some(id) = tool.config.calendar() {
        let Some(text) = calendars.get(id) else { return Ok(None) };
        let parsed: CalendarSettings = stored_json::from_str(text).map_err(StoreError::unreadable)?;
        settings.insert(*id, parsed);
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(StoreError::unreadable)?;
        let mut calendar = Map::from_iter([("id".to_owned(), Value::from(id.to_string()))]);
        calendar.extend(fields);
        if let Some(config) = kind.get_mut(tool.config.as_str()) {
            config["calendar"] = Value::Object(calendar);
        }
    }
    let functions = tool.compile(slug, &settings);
    let mut stored = Vec::with_capacity(functions.len());
    for function in &functions {
        let mut function = serde_json::to_value(function).map_err(StoreError::unreadable)?;
        function["kind"] = kind.clone();
        stored.push(function);
    }
    Ok(Some(Compilation { functions, stored }))
}

/// The calendar of a stored tool, if it has one and the calendar is in use.
pub(in crate::service) async fn calendars_of(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: Option<CalendarId>,
) -> Result<Calendars, StoreError> {
    let Some(id) = calendar else { return Ok(Calendars::new()) };
    let row = workspace_config::find(conn, Section::Calendars, workspace, id.0).await?;
    Ok(row.map(|row| (id, row.text)).into_iter().collect())
}

/// Compiles a tool of the workspace.
pub(in crate::service) async fn compile_row(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    row: &ConfigRow,
) -> Result<Option<Compilation>, StoreError> {
    let tool: Tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    let calendars = calendars_of(conn, workspace, tool.config.calendar().copied()).await?;
    compile(&row.slug, &row.text, &calendars)
}

/// The text of a version with these tools, in this order.
pub(in crate::service) fn version_text(
    source: &AssistantVersion<String>,
    tools: &[Compilation],
) -> Result<String, StoreError> {
    let mut version = serde_json::to_value(source).map_err(StoreError::unreadable)?;
    version["tools"] = tools.iter().flat_map(|tool| tool.stored.iter().cloned()).collect();
    Ok(version.to_string())
}

/// The next version of an assistant, in which changed tools replace those of the same slugs at their positions. `None` if nothing
/// differs; the inner error says why the assistant cannot have them.
pub(in crate::service) fn with_tools(
    old: &AssistantRow,
    changed: &HashMap<&str, Compilation>,
) -> Result<Result<Option<AssistantRow>, Incompatible>, StoreError> {
    let unreadable = StoreError::unreadable;
    let mut version: Value = serde_json::from_str(&old.compiled).map_err(unreadable)?;
    let typed: AssistantVersion = stored_json::from_str(&old.compiled).map_err(unreadable)?;
    let Some(stored) = version.get_mut("tools").and_then(Value::as_array_mut) else { return Ok(Ok(None)) };
    let (mut functions, mut texts) = (Vec::new(), Vec::new());
    for slug in typed.source().tools {
        if let Some(compilation) = changed.get(slug.as_str()) {
            functions.extend(compilation.functions.iter().cloned());
            texts.extend(compilation.stored.iter().cloned());
        } else {
            functions.extend(typed.tools.iter().filter(|tool| tool.slug == slug).cloned());
            texts.extend(stored.iter().filter(|tool| tool["slug"] == slug.as_str()).cloned());
        }
    }
    if *stored == texts {
        return Ok(Ok(None));
    }
    if let Err(problem) = check_names(&functions) {
        return Ok(Err(Incompatible { assistant: old.slug.clone(), problem }));
    }
    *stored = texts;
    let (current_version, compiled) = (old.current_version + 1, version.to_string());
    Ok(Ok(Some(AssistantRow { current_version, compiled, ..old.clone() })))
}

/// The assistants that use a tool, by slug.
pub(in crate::service) async fn users(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    tool: &str,
) -> Result<Vec<String>, StoreError> {
    let mut users = Vec::new();
    for id in assistants::list_mentioning(conn.reborrow(), workspace, tool).await? {
        let Some(row) = assistants::find_row(conn.reborrow(), workspace, id).await? else { continue };
        let version: AssistantVersion =
            stored_json::from_str(&row.compiled).map_err(StoreError::unreadable)?;
        if version.tools.iter().any(|used| used.slug == tool) {
            users.push(row.slug);
        }
    }
    Ok(users)
}

/// A tool that changes, under the lock of its workspace's state.
#[derive(Debug)]
pub(in crate::service) struct ToolChange<'a> {
    pub workspace: WorkspaceId,
    pub slug: &'a str,
    pub compilation: &'a Compilation,
}

impl ToolChange<'_> {
    /// The assistants that get new versions; writes nothing. The inner error is that of an assistant that the tool does not fit.
    pub(in crate::service) async fn affected(
        &self,
        mut conn: Conn<'_>,
    ) -> Result<Result<Vec<AssistantId>, Incompatible>, StoreError> {
        let mut affected = Vec::new();
        for id in assistants::list_mentioning(conn.reborrow(), self.workspace, self.slug).await? {
            match self.next_version(conn.reborrow(), id).await? {
                Ok(Some(_)) => affected.push(id),
                Ok(None) => {}
                Err(incompatible) => return Ok(Err(incompatible)),
            }
        }
        Ok(Ok(affected))
    }

    /// Writes the new versions of the affected assistants, one by one, because a version may be large.
    pub(in crate::service) async fn write(
        &self,
        mut conn: Conn<'_>,
        affected: &[AssistantId],
        now: Micros,
    ) -> Result<(), StoreError> {
        for id in affected {
            if let Ok(Some(row)) = self.next_version(conn.reborrow(), *id).await? {
                put_version(conn.reborrow(), self.workspace, &row, now).await?;
            }
        }
        Ok(())
    }

    async fn next_version(
        &self,
        conn: Conn<'_>,
        id: AssistantId,
    ) -> Result<Result<Option<AssistantRow>, Incompatible>, StoreError> {
        let Some(row) = assistants::find_row(conn, self.workspace, id).await? else { return Ok(Ok(None)) };
        with_tools(&row, &HashMap::from([(self.slug, self.compilation.clone())]))
    }
}

/// Creates one new version for each unarchived assistant that uses a calendar. Writes nothing if the new settings do not fit one of them. The
/// caller has locked the workspace's state.
pub(in crate::service) async fn recompile_users_of_calendar(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    (calendar, settings): (CalendarId, &CalendarSettings),
    now: Micros,
) -> Result<Result<(), Incompatible>, StoreError> {
    let settings = serde_json::to_string(settings).map_err(StoreError::unreadable)?;
    let calendars = Calendars::from([(calendar, settings)]);
    let is_user = |tool: &Tool| tool.config.calendar() == Some(&calendar);
    let tools = users::list_users(conn.reborrow(), workspace, is_user).await?;
    let mut changed = HashMap::new();
    for tool in &tools {
        let compilation = compile(&tool.slug, &tool.text, &calendars)?;
        changed.extend(compilation.map(|compilation| (tool.slug.as_str(), compilation)));
    }
    let mut versions = Vec::new();
    for row in assistants::list_all(conn.reborrow(), workspace).await? {
        if row.archived || changed.is_empty() {
            continue;
        }
        match with_tools(&row, &changed)? {
            Ok(version) => versions.extend(version),
            Err(incompatible) => return Ok(Err(incompatible)),
        }
    }
    for version in versions {
        put_version(conn.reborrow(), workspace, &version, now).await?;
    }
    Ok(Ok(()))
}

/// Writes an assistant and its new version.
pub(in crate::service) async fn put_version(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    row: &AssistantRow,
    now: Micros,
) -> Result<(), StoreError> {
    assistants::put(conn.reborrow(), workspace, row, now).await?;
    assistants::insert_version(conn, workspace, row, now).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const BASE: &str = "kb_00000000000000000000000000";

    fn definition(name: &str, newer: bool) -> String {
        let mut definition = json!({
            "name": name, "description": "d", "parameters": { "type": "object" },
            "config": { "knowledge": { "knowledge_base": BASE } },
        });
        if newer {
            definition["config"]["knowledge"]["newer"] = json!(true);
        }
        definition.to_string()
    }

    fn compiled(slug: &str, name: &str) -> Compilation {
        compile(slug, &definition(name, false), &Calendars::new()).unwrap().unwrap()
    }

    fn row(tools: &[Compilation]) -> AssistantRow {
        let source = json!({ "slug": "a", "name": "A", "system_prompt": "x" });
        let source: AssistantVersion<String> = serde_json::from_value(source).unwrap();
        AssistantRow {
            id: AssistantId(Uuid::nil()),
            slug: "a".to_owned(),
            name: "A".to_owned(),
            current_version: 3,
            pause_on_agent_message: false,
            from_file: false,
            archived: false,
            compiled: version_text(&source, tools).unwrap(),
        }
    }

    #[test]
    fn a_changed_tool_replaces_the_old_one_at_its_position() {
        let old = row(&[compiled("one", "f1"), compiled("two", "f2"), compiled("three", "f3")]);

        let next = with_tools(&old, &HashMap::from([("two", compiled("two", "renamed"))])).unwrap();

        let next = next.unwrap().unwrap();
        let version: AssistantVersion = stored_json::from_str(&next.compiled).unwrap();
        let names: Vec<_> = version.tools.iter().map(|tool| tool.spec.name.as_str()).collect();
        assert_eq!((names, next.current_version), (vec!["f1", "renamed", "f3"], 4));
    }

    #[test]
    fn the_same_tool_or_one_that_is_not_used_makes_no_version() {
        let old = row(&[compiled("one", "f1")]);

        for changed in [("one", compiled("one", "f1")), ("two", compiled("two", "f2"))] {
            assert!(with_tools(&old, &HashMap::from([changed])).unwrap().unwrap().is_none());
        }
    }

    #[test]
    fn a_name_that_another_tool_has_is_refused() {
        let old = row(&[compiled("one", "f1"), compiled("two", "f2")]);

        let refused = with_tools(&old, &HashMap::from([("two", compiled("two", "f1"))])).unwrap();

        let refused = refused.unwrap_err();
        assert_eq!(refused.assistant, "a");
        assert!(refused.problem.contains("called f1"), "{}", refused.problem);
    }

    #[test]
    fn fields_of_a_newer_release_are_kept() {
        let tool = compile("one", &definition("f1", true), &Calendars::new()).unwrap().unwrap();

        let stored: Value = serde_json::from_str(&row(&[tool]).compiled).unwrap();

        assert_eq!(stored["tools"][0]["kind"]["knowledge"]["newer"], true);
    }

    #[test]
    fn a_calendar_is_compiled_with_its_rules_or_not_at_all() {
        let id = CalendarId(Uuid::nil());
        let definition = json!({
            "name": "book", "description": "d", "parameters": { "type": "object" },
            "config": { "calendar_booking": { "calendar": id.to_string() } },
        });
        let settings = json!({
            "time_zone": "Europe/Berlin", "slot_minutes": 60, "hours": { "mon": ["14:00-15:00"] },
        });
        let definition = definition.to_string();

        assert!(compile("book", &definition, &Calendars::new()).unwrap().is_none());
        let calendars = Calendars::from([(id, settings.to_string())]);
        let tool = compile("book", &definition, &calendars).unwrap().unwrap();
        let compiled = &tool.stored[0]["kind"]["calendar_booking"]["calendar"];
        assert_eq!((&compiled["id"], &compiled["slot_minutes"]), (&json!(id.to_string()), &json!(60)));
    }
}
