//! The tools of a file, their secrets sealed. A secret that has not changed keeps its
//! sealed text, so that an apply without a change makes no new version.

use std::collections::HashMap;

use super::calendars::Calendars;
use super::{Applier, ApplyError, CurrentState, reject_api_owned};
use crate::domain::assistant::{CompiledTool, HeaderText, WebhookTool};
use crate::domain::ids::{CalendarId, KnowledgeBaseId};
use crate::domain::seal::SealedSecret;
use crate::domain::tool::{Tool, ToolConfig};
use crate::formats::workspace_file::{EnvName, FileTool};
use crate::store::Conn;
use crate::store::workspace_config::{ConfigRow, Section};

impl Applier<'_> {
    /// The file's tools as assistants have them, by slug.
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
        let calendar = |slug: &str| -> Result<CalendarId, ApplyError> {
            let found = calendars.by_slug.get(slug).copied();
            found.ok_or_else(|| ApplyError::Refused(format!("there is no calendar \"{slug}\"")))
        };
        let old = old.and_then(|old| serde_json::from_str::<Tool>(&old.text).ok()).map(|old| old.uses);
        let uses = match &file.config {
            ToolConfig::CalendarAvailability { calendar: slug } => {
                ToolConfig::CalendarAvailability { calendar: calendar(slug)? }
            }
            ToolConfig::CalendarBooking { calendar: slug } => {
                ToolConfig::CalendarBooking { calendar: calendar(slug)? }
            }
            ToolConfig::CalendarCancel { calendar: slug } => {
                ToolConfig::CalendarCancel { calendar: calendar(slug)? }
            }
            ToolConfig::Knowledge { base: slug } => {
                let found = bases.get(slug).copied();
                let missing = || {
                    ApplyError::Refused(format!(
                        "tool \"{}\": there is no knowledge base \"{slug}\", neither in this file nor made through \
                         the API",
                        file.slug
                    ))
                };
                ToolConfig::Knowledge { base: found.ok_or_else(missing)? }
            }
            ToolConfig::Webhook(webhook) => {
                let old = old.as_ref().and_then(ToolConfig::webhook);
                ToolConfig::Webhook(Box::new(self.seal_webhook(webhook, old)?))
            }
            ToolConfig::Mcp(server) => {
                let old = old.as_ref().and_then(ToolConfig::mcp);
                ToolConfig::Mcp(Box::new(self.resolve_mcp_tools(&file.slug, server, old)?))
            }
        };
        Ok(Tool {
            name: file.name.clone(),
            description: file.description.clone(),
            parameters: file.parameters.clone(),
            uses,
        })
    }

    pub(super) fn seal_headers(
        &self,
        file_headers: &[(String, HeaderText<EnvName>)],
        old: &[(String, HeaderText)],
    ) -> Result<Vec<(String, HeaderText)>, ApplyError> {
        let mut headers = Vec::new();
        for (name, text) in file_headers {
            let text = match text {
                HeaderText::Plain(text) => HeaderText::Plain(text.clone()),
                HeaderText::Secret(env) => HeaderText::Secret(self.seal(env, old_header(old, name))?),
            };
            headers.push((name.clone(), text));
        }
        Ok(headers)
    }

    fn seal_webhook(
        &self,
        file: &WebhookTool<EnvName>,
        old: Option<&WebhookTool>,
    ) -> Result<WebhookTool, ApplyError> {
        let headers = self.seal_headers(&file.headers, old.map_or(&[], |old| &old.headers))?;
        let old_secrets = old.map_or(&[][..], |old| &old.secrets);
        let mut secrets = Vec::new();
        for (name, env) in &file.secrets {
            let existing = old_secrets.iter().filter(|(known, _)| known == name).map(|(_, sealed)| sealed);
            secrets.push((name.clone(), self.seal(env, existing)?));
        }
        let old_secret = old.and_then(|old| old.secret.as_ref());
        Ok(WebhookTool {
            method: file.method.clone(),
            url: file.url.clone(),
            headers,
            body: file.body.clone(),
            form: file.form,
            static_fields: file.static_fields.clone(),
            timeout_ms: file.timeout_ms,
            secret: file.secret.as_ref().map(|env| self.seal(env, old_secret)).transpose()?,
            secrets,
            idempotent: file.idempotent,
        })
    }

    pub(super) fn seal<'o>(
        &self,
        name: &EnvName,
        old: impl IntoIterator<Item = &'o SealedSecret>,
    ) -> Result<SealedSecret, ApplyError> {
        let key = self.context.seal.ok_or(ApplyError::NoSecretKey)?;
        let secret = self.prepared.secrets.get(name);
        let secret = secret.ok_or_else(|| ApplyError::SecretMissing(name.env.clone()))?;
        key.seal_or_reuse(secret, old, self.context.ids.bytes()).map_err(|_| ApplyError::Seal)
    }
}

fn old_header<'o>(old: &'o [(String, HeaderText)], name: &str) -> Option<&'o SealedSecret> {
    let (_, text) = old.iter().find(|(known, _)| known == name)?;
    text.secret()
}
