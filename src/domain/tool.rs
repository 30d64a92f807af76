//! A tool as its workspace keeps it: named and described, with its calendar by id.
//! An assistant's version has it compiled, with the calendar's rules as they then are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assistant::{CompiledTool, ToolKind, WebhookTool};
use super::calendar::CalendarRules;
use super::ids::CalendarId;

/// A tool, kept as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What the model calls it by.
    pub name: String,
    pub description: String,
    /// A JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    pub uses: Uses,
}

/// What a tool works with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Uses {
    CalendarAvailability { calendar: CalendarId },
    CalendarBooking { calendar: CalendarId },
    CalendarCancel { calendar: CalendarId },
    Webhook(Box<WebhookTool>),
}

impl Uses {
    /// The tool's `kind`, as a workspace file has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::CalendarAvailability { .. } => "calendar_availability",
            Self::CalendarBooking { .. } => "calendar_booking",
            Self::CalendarCancel { .. } => "calendar_cancel",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl Tool {
    /// The tool as a turn runs with it; none where its calendar is not among `calendars`.
    #[must_use]
    pub fn compile(
        &self,
        slug: &str,
        calendars: &HashMap<CalendarId, CalendarRules>,
    ) -> Option<CompiledTool> {
        let rules = |calendar: &CalendarId| calendars.get(calendar).cloned().map(Box::new);
        let kind = match &self.uses {
            Uses::CalendarAvailability { calendar } => {
                ToolKind::CalendarAvailability { calendar: *calendar, rules: rules(calendar)? }
            }
            Uses::CalendarBooking { calendar } => {
                ToolKind::CalendarBooking { calendar: *calendar, rules: rules(calendar)? }
            }
            Uses::CalendarCancel { calendar } => ToolKind::CalendarCancel { calendar: *calendar },
            Uses::Webhook(webhook) => ToolKind::Webhook(webhook.clone()),
        };
        Some(CompiledTool {
            slug: slug.to_owned(),
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.parameters.clone(),
            kind,
        })
    }
}
