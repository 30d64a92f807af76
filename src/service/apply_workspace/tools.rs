//! The tools of a file, their secrets sealed. A secret that has not changed keeps its
//! sealed text, so that an apply without a change makes no new version.

use std::collections::HashMap;

use super::calendars::Calendars;
use super::mcp::old_mcp;
use super::{ApplyError, Before, Run, refuse_made_by_api};
use crate::domain::assistant::{CompiledTool, HeaderText, WebhookTool};
use crate::domain::ids::{CalendarId, KnowledgeBaseId};
use crate::domain::seal::Sealed;
use crate::domain::tool::{Tool, Uses};
use crate::domain::workspace_file::{EnvName, FileTool, FileUses, FileWebhook, TextIn};
use crate::store::Conn;
use crate::store::configured::{Configured, Section};

impl Run<'_> {
    /// The file's tools as assistants have them, by slug.
    pub(super) async fn put_tools(
        &mut self,
        mut conn: Conn<'_>,
        before: &Before,
        calendars: &Calendars,
        bases: &HashMap<String, KnowledgeBaseId>,
    ) -> Result<HashMap<String, Vec<CompiledTool>>, ApplyError> {
        let prepared = self.prepared;
        let mut compiled = HashMap::new();
        for file in &prepared.file.tools {
            let old = before.tools.iter().find(|row| row.slug == file.slug);
            refuse_made_by_api("tool", &file.slug, old.is_none_or(|old| old.from_file))?;
            let tool = self.define(file, calendars, bases, old)?;
            let row = Configured {
                id: old.map_or_else(|| self.site.ids.ordered(self.site.clock), |old| old.id),
                slug: file.slug.clone(),
                text: serde_json::to_string(&tool)?,
                from_file: true,
                archived: false,
            };
            self.put_configured(conn.reborrow(), Section::Tools, row, old).await?;
            let tools = tool.compile(&file.slug, &calendars.settings);
            if !tools.is_empty() {
                compiled.insert(file.slug.clone(), tools);
            }
        }
        let has = |slug: &str| compiled.contains_key(slug);
        self.archive_rest(conn, Section::Tools, &before.tools, has).await?;
        Ok(compiled)
    }

    fn define(
        &mut self,
        file: &FileTool,
        calendars: &Calendars,
        bases: &HashMap<String, KnowledgeBaseId>,
        old: Option<&Configured>,
    ) -> Result<Tool, ApplyError> {
        let calendar = |slug: &str| -> Result<CalendarId, ApplyError> {
            let found = calendars.by_slug.get(slug).copied();
            found.ok_or_else(|| ApplyError::Refused(format!("there is no calendar \"{slug}\"")))
        };
        let uses = match &file.uses {
            FileUses::CalendarAvailability { calendar: slug } => {
                Uses::CalendarAvailability { calendar: calendar(slug)? }
            }
            FileUses::CalendarBooking { calendar: slug } => {
                Uses::CalendarBooking { calendar: calendar(slug)? }
            }
            FileUses::CalendarCancel { calendar: slug } => Uses::CalendarCancel { calendar: calendar(slug)? },
            FileUses::Knowledge { base: slug } => {
                let found = bases.get(slug).copied();
                let missing = || {
                    ApplyError::Refused(format!(
                        "tool \"{}\": there is no knowledge base \"{slug}\", neither in this file nor made through \
                         the API",
                        file.slug
                    ))
                };
                Uses::Knowledge { base: found.ok_or_else(missing)? }
            }
            FileUses::Webhook(webhook) => {
                let old = old.and_then(|old| old_webhook(&old.text));
                Uses::Webhook(Box::new(self.seal_webhook(webhook, old.as_deref())?))
            }
            FileUses::Mcp(server) => {
                let old = old.and_then(|old| old_mcp(&old.text));
                Uses::Mcp(Box::new(self.list_mcp(&file.slug, server, old.as_deref())?))
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
        written: &[(String, TextIn)],
        old: &[(String, HeaderText)],
    ) -> Result<Vec<(String, HeaderText)>, ApplyError> {
        let mut headers = Vec::new();
        for (name, text) in written {
            let text = match text {
                TextIn::Plain(text) => HeaderText::Plain(text.clone()),
                TextIn::Env(env) => HeaderText::Sealed(self.seal(env, old_header(old, name))?),
            };
            headers.push((name.clone(), text));
        }
        Ok(headers)
    }

    fn seal_webhook(&self, file: &FileWebhook, old: Option<&WebhookTool>) -> Result<WebhookTool, ApplyError> {
        let headers = self.seal_headers(&file.headers, old.map_or(&[], |old| &old.headers))?;
        let old_named = old.map_or(&[][..], |old| &old.secrets);
        let mut secrets = Vec::new();
        for (name, env) in &file.secrets {
            let kept = old_named.iter().filter(|(known, _)| known == name).map(|(_, sealed)| sealed);
            secrets.push((name.clone(), self.seal(env, kept)?));
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
        old: impl IntoIterator<Item = &'o Sealed>,
    ) -> Result<Sealed, ApplyError> {
        let key = self.site.seal.ok_or(ApplyError::NoSecretKey)?;
        let secret = self.prepared.secrets.get(name);
        let secret = secret.ok_or_else(|| ApplyError::SecretMissing(name.env.clone()))?;
        key.seal_unless_kept(secret, old, self.site.ids.bytes()).map_err(|_| ApplyError::Seal)
    }
}

fn old_webhook(text: &str) -> Option<Box<WebhookTool>> {
    match serde_json::from_str::<Tool>(text).ok()?.uses {
        Uses::Webhook(webhook) => Some(webhook),
        Uses::CalendarAvailability { .. }
        | Uses::CalendarBooking { .. }
        | Uses::CalendarCancel { .. }
        | Uses::Knowledge { .. }
        | Uses::Mcp(_) => None,
    }
}

fn old_header<'o>(old: &'o [(String, HeaderText)], name: &str) -> Option<&'o Sealed> {
    let (_, text) = old.iter().find(|(known, _)| known == name)?;
    match text {
        HeaderText::Sealed(sealed) => Some(sealed),
        HeaderText::Plain(_) => None,
    }
}
