//! The assistants of a file. An assistant that differs from its current version gets a new version; turns that are
//! already running continue with the old one.

use std::collections::HashMap;

use super::changes::changed_keys;
use super::{Action, Applier, ApplyError, CurrentState, EntryId, Values, reject_api_owned};
use crate::domain::assistant::AssistantVersion;
use crate::domain::audit::ObjectKind;
use crate::domain::ids::AssistantId;
use crate::domain::tool::{CompiledTool, check_names};
use crate::store::Conn;
use crate::store::assistants::{self, AssistantRow};

impl Applier<'_> {
    /// The ids of the file's assistants, by slug. An id never changes and is unique across workspaces.
    pub(super) async fn assistant_ids(
        &self,
        mut conn: Conn<'_>,
        current: &CurrentState,
    ) -> Result<HashMap<String, AssistantId>, ApplyError> {
        let mut ids = HashMap::new();
        for file in &self.prepared.file.assistants {
            let slug = &file.version.slug;
            let requested = file.id.map(AssistantId);
            let id = match (current.assistants.iter().find(|row| row.slug == *slug), requested) {
                (Some(old), requested) => {
                    reject_api_owned("assistant", slug, old.from_file)?;
                    if requested.is_some_and(|requested| requested != old.id) {
                        let problem =
                            format!("assistant \"{slug}\" has the id {}; it cannot change", old.id.0);
                        return Err(ApplyError::Refused(problem));
                    }
                    old.id
                }
                (None, Some(requested)) => {
                    if assistants::exists(conn.reborrow(), requested).await? {
                        let requested = requested.0;
                        let problem = format!(
                            "the id {requested} of assistant \"{slug}\" is another's: give it another, or leave it out"
                        );
                        return Err(ApplyError::Refused(problem));
                    }
                    requested
                }
                (None, None) => AssistantId(self.context.ids.uuid_v7(self.context.clock)),
            };
            ids.insert(slug.clone(), id);
        }
        Ok(ids)
    }

    pub(super) fn record_assistants(&mut self, ids: &HashMap<String, AssistantId>) {
        let prepared = self.prepared;
        let slugs = prepared.file.assistants.iter().map(|file| &file.version.slug);
        for (slug, id) in slugs.filter_map(|slug| Some((slug.clone(), *ids.get(slug)?))) {
            self.ids.push(EntryId { section: "assistant", slug, id: id.to_string(), uuid: Some(id.0) });
        }
    }

    /// Writes the file's assistants and returns them by slug; archives those that are no longer in the file.
    pub(super) async fn put_assistants(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
        ids: &HashMap<String, AssistantId>,
        tools: &HashMap<String, Vec<CompiledTool>>,
    ) -> Result<HashMap<String, AssistantVersion>, ApplyError> {
        let prepared = self.prepared;
        let mut compiled = HashMap::new();
        for file in &prepared.file.assistants {
            let slug = &file.version.slug;
            let Some(id) = ids.get(slug).copied() else { continue };
            let tools: Vec<_> =
                file.version.tools.iter().filter_map(|slug| tools.get(slug)).flatten().cloned().collect();
            check_names(&tools)
                .map_err(|problem| ApplyError::Refused(format!("assistant \"{slug}\": {problem}")))?;
            let version = file.version.with_tools(tools);
            let old = current.assistants.iter().find(|row| row.slug == *slug);
            self.put_assistant(conn.reborrow(), id, &version, old).await?;
            self.put_identity_secrets(conn.reborrow(), id, file, old.is_none()).await?;
            compiled.insert(slug.clone(), version);
        }
        let is_removed = |row: &&AssistantRow| row.from_file && !row.archived && !ids.contains_key(&row.slug);
        for row in current.assistants.iter().filter(is_removed) {
            assistants::archive(conn.reborrow(), self.workspace, row.id, self.now).await?;
            self.record_change(ObjectKind::Assistant, row.id, &row.slug, Action::Archived, Values::NONE);
        }
        Ok(compiled)
    }

    async fn put_assistant(
        &mut self,
        mut conn: Conn<'_>,
        id: AssistantId,
        version: &AssistantVersion,
        old: Option<&AssistantRow>,
    ) -> Result<(), ApplyError> {
        let text = serde_json::to_string(version)?;
        let differs = old.is_none_or(|old| old.compiled != text);
        let keys = old.map(|old| changed_keys(&old.compiled, &text)).unwrap_or_default();
        let Some(action) = Action::of(old.map(|old| old.archived), keys) else { return Ok(()) };
        let latest_version = old.map_or(0, |old| old.current_version);
        let row = AssistantRow {
            id,
            slug: version.slug.clone(),
            name: version.name.clone(),
            current_version: if differs { latest_version + 1 } else { latest_version },
            pause_on_agent_message: version.pause_on_agent_message,
            from_file: true,
            archived: false,
            compiled: text,
        };
        assistants::put(conn.reborrow(), self.workspace, &row, self.now).await?;
        if differs {
            assistants::insert_version(conn, self.workspace, &row, self.now).await?;
        }
        let values = Values { before: old.map(|old| old.compiled.as_str()), after: Some(&row.compiled) };
        self.record_change(ObjectKind::Assistant, row.id, &row.slug, action, values);
        Ok(())
    }
}
