//! A tool as its workspace keeps it: named and described, with its calendar by id.
//! An assistant's version has it compiled, with the calendar's rules as they then are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assistant::{CompiledTool, ToolKind, WebhookTool};
use super::calendar::CalendarSettings;
use super::ids::{CalendarId, KnowledgeBaseId};
use super::mcp::McpTools;

/// A tool, kept as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What the model calls it by.
    pub name: String,
    pub description: String,
    /// A JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    pub uses: ToolConfig,
}

/// What a tool works with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolConfig {
    CalendarAvailability {
        calendar: CalendarId,
    },
    CalendarBooking {
        calendar: CalendarId,
    },
    CalendarCancel {
        calendar: CalendarId,
    },
    Knowledge {
        base: KnowledgeBaseId,
    },
    Webhook(Box<WebhookTool>),
    /// Several tools, each with its own name, words and schema.
    Mcp(Box<McpTools>),
}

impl ToolConfig {
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
        if let ToolConfig::Mcp(tools) = &self.uses {
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
