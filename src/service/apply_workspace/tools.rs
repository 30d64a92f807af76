//! The tools of a file, with sealed secrets. An unchanged secret keeps its sealed text, so an apply without changes
//! creates no new version.

use std::collections::HashMap;

use super::calendars::Calendars;
use super::{Applier, ApplyError, CurrentState, reject_api_owned};
use crate::domain::ids::{KnowledgeBaseId, ToolId};
use crate::domain::seal::{SealedSecret, SecretContext, SecretField};
use crate::domain::tool::{CompiledTool, Tool};
use crate::formats::workspace_file::{EnvName, FileTool};
use crate::store::workspace_config::{ConfigRow, Section};
use crate::store::{Conn, stored_json};

impl Applier<'_> {
    /// Writes the file's tools and returns them compiled for assistants, by slug.
    pub(super) async fn put_tools(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
        calendars: &Calendars,
        bases: &HashMap<String, KnowledgeBaseId>,
    ) -> Result<HashMap<String, Vec<CompiledTool>>, ApplyError> {
        let prepared = self.prepared;
        let mut compiled = HashMap::new();
        for file in &prepared.file.tools {
            let old = current.tools.iter().find(|row| row.slug == file.slug);
            reject_api_owned("tool", &file.slug, old.is_none_or(|old| old.from_file))?;
            let tool = self.build_tool(file, calendars, bases, old)?;
            let row = ConfigRow {
                id: old.map_or_else(|| self.context.ids.uuid_v7(self.context.clock), |old| old.id),
                slug: file.slug.clone(),
                text: serde_json::to_string(&tool)?,
                from_file: true,
                archived: false,
            };
            self.record_id("tool", &file.slug, ToolId(row.id));
            self.put_config_row(conn.reborrow(), Section::Tools, row, old).await?;
            let tools = tool.compile(&file.slug, &calendars.settings);
            if !tools.is_empty() {
                compiled.insert(file.slug.clone(), tools);
            }
        }
        let has = |slug: &str| compiled.contains_key(slug);
        self.archive_missing(conn, Section::Tools, &current.tools, has).await?;
        Ok(compiled)
    }

    fn build_tool(
        &mut self,
        file: &FileTool,
        calendars: &Calendars,
        bases: &HashMap<String, KnowledgeBaseId>,
        old: Option<&ConfigRow>,
    ) -> Result<Tool, ApplyError> {
        let old = old.and_then(|old| stored_json::from_str::<Tool>(&old.text).ok());
        let calendar = |slug: &String| {
            let missing = || ApplyError::Refused(format!("there is no calendar \"{slug}\""));
            calendars.by_slug.get(slug).copied().ok_or_else(missing)
        };
        let knowledge_base = |slug: &String| {
            let missing = || {
                ApplyError::Refused(format!(
                    "tool \"{}\": there is no knowledge base \"{slug}\", neither in this file nor made through \
                     the API",
                    file.slug
                ))
            };
            bases.get(slug).copied().ok_or_else(missing)
        };
        let old_secrets = || old.iter().flat_map(|old| old.config.secrets());
        let seal = |field: SecretField<'_>, name: &EnvName| {
            self.seal(&SecretContext::of_tool(self.workspace, &file.slug, field), name, old_secrets())
        };
        let config = file.config.try_map(calendar, knowledge_base, seal)?;
        let listing = match config.mcp() {
            Some(server) => Some(self.mcp_listing(&file.slug, server, old.as_ref())?),
            None => None,
        };
        Ok(Tool { spec: file.spec.clone(), label: file.label.clone(), config, listing })
    }

    pub(super) fn seal<'o>(
        &self,
        context: &SecretContext<'_>,
        name: &EnvName,
        old: impl IntoIterator<Item = &'o SealedSecret>,
    ) -> Result<SealedSecret, ApplyError> {
        let keys = self.context.seal.ok_or(ApplyError::NoSecretKey)?;
        let secret = self.prepared.secrets.get(name);
        let secret = secret.ok_or_else(|| ApplyError::SecretMissing(name.env.clone()))?;
        keys.seal_or_reuse(context, secret, old, self.context.ids.bytes()).map_err(|_| ApplyError::Seal)
    }
}
