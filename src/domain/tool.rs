//! A tool as its workspace stores it: its name, description and configuration, with its calendar by id. An assistant's
//! version has it compiled, with the calendar's rules at that time.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assistant::{CompiledTool, ToolKind, WebhookTool};
use super::calendar::CalendarSettings;
use super::ids::{CalendarId, KnowledgeBaseId};
use super::mcp::McpTools;
use super::seal::SealedSecret;

/// A tool, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The name by which the model calls it.
    pub name: String,
    pub description: String,
    /// A JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    pub uses: ToolConfig,
}

/// The configuration of each kind of tool, as it is stored. A workspace file has the same with a slug for each calendar
/// `C` and knowledge base `K`, the name of an environment variable for each secret `S`, and no list of an MCP
/// server's tools in `M`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolConfig<C = CalendarId, K = KnowledgeBaseId, S = SealedSecret, M = McpTools> {
    CalendarAvailability {
        calendar: C,
    },
    CalendarBooking {
        calendar: C,
    },
    CalendarCancel {
        calendar: C,
    },
    Knowledge {
        base: K,
    },
    Webhook(Box<WebhookTool<S>>),
    /// Several tools, each with its own name, description and schema.
    Mcp(Box<M>),
}

impl<C, K, S, M> ToolConfig<C, K, S, M> {
    /// The tool's `kind`, as a workspace file has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::CalendarAvailability { .. } => "calendar_availability",
            Self::CalendarBooking { .. } => "calendar_booking",
            Self::CalendarCancel { .. } => "calendar_cancel",
            Self::Knowledge { .. } => "knowledge",
            Self::Webhook(_) => "webhook",
            Self::Mcp(_) => "mcp",
        }
    }
    /// The webhook, if it is one.
    #[must_use]
    pub fn webhook(&self) -> Option<&WebhookTool<S>> {
        let Self::Webhook(webhook) = self else { return None };
        Some(webhook)
    }

    /// The MCP server, if it is one.
    #[must_use]
    pub fn mcp(&self) -> Option<&M> {
        let Self::Mcp(mcp) = self else { return None };
        Some(mcp)
    }
}

impl Tool {
    /// The tool as a turn runs with it: of an MCP server's, one for each that was found. None where its
    /// calendar is not among `calendars`.
    #[must_use]
    pub fn compile(
        &self,
        slug: &str,
        calendars: &HashMap<CalendarId, CalendarSettings>,
    ) -> Vec<CompiledTool> {
        if let Some(tools) = self.uses.mcp() {
            return compile_mcp_tools(slug, tools);
        }
        let compiled = self.kind(calendars).map(|kind| CompiledTool {
            slug: slug.to_owned(),
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.parameters.clone(),
            kind,
        });
        compiled.into_iter().collect()
    }

    fn kind(&self, calendars: &HashMap<CalendarId, CalendarSettings>) -> Option<ToolKind> {
        let rules = |calendar: &CalendarId| Some(Box::new(calendars.get(calendar)?.rules.clone()));
        let caldav = |calendar: &CalendarId| calendars.get(calendar)?.caldav.clone();
        Some(match &self.uses {
            ToolConfig::CalendarAvailability { calendar } => {
                let (rules, caldav) = (rules(calendar)?, caldav(calendar));
                ToolKind::CalendarAvailability { calendar: *calendar, rules, caldav }
            }
            ToolConfig::CalendarBooking { calendar } => {
                let (rules, caldav) = (rules(calendar)?, caldav(calendar));
                ToolKind::CalendarBooking { calendar: *calendar, rules, caldav }
            }
            ToolConfig::CalendarCancel { calendar } => {
                ToolKind::CalendarCancel { calendar: *calendar, caldav: caldav(calendar) }
            }
            ToolConfig::Knowledge { base } => ToolKind::Knowledge { base: *base },
            ToolConfig::Webhook(webhook) => ToolKind::Webhook(webhook.clone()),
            ToolConfig::Mcp(_) => return None,
        })
    }
}

fn compile_mcp_tools(slug: &str, tools: &McpTools) -> Vec<CompiledTool> {
    let compiled = tools.found.iter().map(|found| CompiledTool {
        slug: slug.to_owned(),
        name: found.name.clone(),
        description: found.description.clone(),
        parameters: found.parameters.clone(),
        kind: ToolKind::Mcp(Box::new(tools.server.clone())),
    });
    compiled.collect()
}
