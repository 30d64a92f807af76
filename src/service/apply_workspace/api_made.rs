//! What was made through the API and uses what a file has made. It follows the file's changes, and keeps the file from removing what
//! it needs.

use std::collections::HashMap;

use super::{Action, Applier, ApplyError, CurrentState, Values};
use crate::domain::assistant::AssistantVersion;
use crate::domain::audit::ObjectKind;
use crate::domain::ids::CalendarId;
use crate::domain::tool::Tool;
use crate::service::assistants::compile::{self, Calendars, Compilation};
use crate::store::assistants::AssistantRow;
use crate::store::knowledge::knowledge_bases;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json};

impl Applier<'_> {
    /// Gives new versions to the assistants that were made through the API and whose tools the file has changed.
    pub(super) async fn update_api_made(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
    ) -> Result<(), ApplyError> {
        let users: Vec<&AssistantRow> =
            current.assistants.iter().filter(|row| !row.from_file && !row.archived).collect();
        let has_tools = current.tools.iter().any(|row| !row.from_file && !row.archived);
        if users.is_empty() && !has_tools {
            return Ok(());
        }
        let rows = workspace_config::list(conn.reborrow(), Section::Tools, self.workspace).await?;
        let tools: Vec<&ConfigRow> = rows.iter().filter(|row| !row.archived).collect();
        let calendars = self.active_calendars(conn.reborrow()).await?;
        let mut compiled = HashMap::new();
        for row in &tools {
            if !row.from_file {
                self.check_knowledge_base(conn.reborrow(), row).await?;
            }
            match compile::compile(&row.slug, &row.text, &calendars)? {
                Some(compilation) => {
                    compiled.insert(row.slug.as_str(), compilation);
                }
                None => return Err(needed("calendar", "tool", &row.slug)),
            }
        }
        for row in users {
            self.update_assistant(conn.reborrow(), row, &compiled).await?;
        }
        Ok(())
    }

    async fn active_calendars(&self, conn: Conn<'_>) -> Result<Calendars, StoreError> {
        let rows = workspace_config::list(conn, Section::Calendars, self.workspace).await?;
        let active = rows.into_iter().filter(|row| !row.archived);
        Ok(active.map(|row| (CalendarId(row.id), row.text)).collect())
    }

    async fn check_knowledge_base(&self, conn: Conn<'_>, row: &ConfigRow) -> Result<(), ApplyError> {
        let tool: Tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
        let Some(id) = tool.config.knowledge_base() else { return Ok(()) };
        let base = knowledge_bases::find(conn, self.workspace, *id).await?;
        if base.is_some_and(|base| base.archived_at.is_none()) {
            return Ok(());
        }
        Err(needed("knowledge base", "tool", &row.slug))
    }

    async fn update_assistant(
        &mut self,
        conn: Conn<'_>,
        row: &AssistantRow,
        compiled: &HashMap<&str, Compilation>,
    ) -> Result<(), ApplyError> {
        let version: AssistantVersion =
            stored_json::from_str(&row.compiled).map_err(StoreError::unreadable)?;
        if version.tools.iter().any(|tool| !compiled.contains_key(tool.slug.as_str())) {
            return Err(needed("tool", "assistant", &row.slug));
        }
        match compile::with_tools(row, compiled)? {
            Ok(None) => {}
            Ok(Some(next)) => {
                compile::put_version(conn, self.workspace, &next, self.now).await?;
                let action = Action::Changed(vec!["tools".to_owned()]);
                let values = Values { before: Some(&row.compiled), after: Some(&next.compiled) };
                self.record_change(ObjectKind::Assistant, row.id, &row.slug, action, values);
            }
            Err(incompatible) => {
                let problem = format!("assistant \"{}\": {}", incompatible.assistant, incompatible.problem);
                return Err(ApplyError::Refused(problem));
            }
        }
        Ok(())
    }
}

/// The error of a file without something that is still used.
fn needed(missing: &str, section: &str, slug: &str) -> ApplyError {
    ApplyError::Refused(format!(
        "the file removes a {missing} that the {section} \"{slug}\" uses, which was made through the API: change that first"
    ))
}
