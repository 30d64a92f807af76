//! The workspace file: one TOML text that describes a workspace, whole. Here it is
//! read and checked as far as its text goes; `service::apply_workspace` checks
//! addresses, reads secrets and makes the store match it.

mod calendars;
mod check;
mod document;
mod knowledge_bases;
mod raw;
mod tools;
mod webhook_endpoints;

#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use document::WorkspaceFileError;
pub use raw::TextOrEnv;

use crate::domain::assistant::ModelRef;
use crate::domain::calendar::CalendarRules;
use crate::domain::conversation::ConversationKind;
use crate::domain::event::EventType;
use crate::domain::ids::{AssistantId, WidgetUuid};
use crate::domain::knowledge::{Format, Language};
use crate::domain::money::Money;
use crate::domain::workspace::Pricing;

/// Where a secret is found when the file is applied: `{ env = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvName {
    /// Name of the environment variable.
    pub env: String,
}

/// A file that holds together: each name that it uses is in it, once.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceFile {
    pub slug: String,
    pub name: String,
    /// Given when the workspace is made, never again.
    pub opening_credit: Money,
    pub auto_create_conversations: bool,
    pub balance_low: Option<Money>,
    /// A slug of `assistants`.
    pub default_assistant: Option<String>,
    pub pricing: Pricing,
    /// Not yet checked to be hosts.
    pub allow_hosts: Vec<String>,
    pub assistants: Vec<FileAssistant>,
    pub calendars: Vec<FileCalendar>,
    pub knowledge_bases: Vec<FileKnowledgeBase>,
    pub tools: Vec<FileTool>,
    pub webhook_endpoints: Vec<FileEndpoint>,
    pub conversations: Vec<FileConversation>,
}

/// An assistant of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileAssistant {
    pub slug: String,
    pub id: Option<AssistantId>,
    pub name: String,
    pub system_prompt: String,
    pub first_message: Option<String>,
    pub model: Option<String>,
    pub fallbacks: Vec<ModelRef>,
    pub parameters: Map<String, Value>,
    pub pause_on_agent_message: bool,
    pub variables: Map<String, Value>,
    /// Slugs of the file's tools, whose names differ.
    pub tools: Vec<String>,
    pub allowed_origins: Vec<String>,
}

/// A calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct FileCalendar {
    pub slug: String,
    pub rules: CalendarRules,
    /// None: it is kept here.
    pub caldav: Option<FileCaldav>,
}

/// The server that a calendar is on. Its host is not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCaldav {
    /// Of the calendar's collection; it ends in a slash.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<EnvName>,
}

/// A knowledge base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKnowledgeBase {
    pub slug: String,
    pub name: Option<String>,
    pub language: Language,
    pub documents: Vec<FileDocument>,
}

/// A document of a knowledge base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDocument {
    /// Once in its base.
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub source: FileSource,
    /// Its line, and its place with nothing wrong yet: for what is found when its file is read.
    pub location: WorkspaceFileError,
}

/// Where a document's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    /// Markdown.
    Text(String),
    /// A path, relative to the workspace file.
    Path(String, Format),
}

/// A tool of the file, its name, description and schema settled.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTool {
    pub slug: String,
    pub name: String,
    pub description: String,
    /// A JSON Schema of type `object`.
    pub parameters: Value,
    pub config: FileToolConfig,
}

/// What a tool works with; calendars and knowledge bases by their slug.
#[derive(Clone, Debug, PartialEq)]
pub enum FileToolConfig {
    CalendarAvailability {
        calendar: String,
    },
    CalendarBooking {
        calendar: String,
    },
    CalendarCancel {
        calendar: String,
    },
    Knowledge {
        base: String,
    },
    Webhook(Box<FileWebhook>),
    /// Several tools, which the server names.
    Mcp(Box<FileMcp>),
}

/// An HTTP endpoint, its secrets by name. Its host is not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FileWebhook {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, TextOrEnv)>,
    pub body: Option<String>,
    pub form: bool,
    pub static_fields: Map<String, Value>,
    pub timeout_ms: u64,
    pub secret: Option<EnvName>,
    /// By the names that `{{name}}` uses them by.
    pub secrets: Vec<(String, EnvName)>,
    pub idempotent: bool,
}

/// A Model Context Protocol server, its secrets by name. Its host is not yet checked, nor has it been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMcp {
    pub url: String,
    /// Without placeholders.
    pub headers: Vec<(String, TextOrEnv)>,
    /// None: all that it lists.
    pub allow: Option<Vec<String>>,
    pub timeout_ms: u64,
}

/// A webhook endpoint. Its host is not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEndpoint {
    pub slug: String,
    pub url: String,
    pub description: Option<String>,
    /// Empty: all.
    pub types: Vec<EventType>,
    /// Absent: one is made, and kept.
    pub secret: Option<EnvName>,
    /// Absent: enabled when it is made, and then as it is.
    pub enabled: Option<bool>,
}

/// A conversation with a fixed widget UUID, of type `widget` or `test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConversation {
    pub link: WidgetUuid,
    /// A slug of `assistants`.
    pub assistant: String,
    pub kind: ConversationKind,
}

impl WorkspaceFile {
    /// Reads and checks a file's text; says the first thing that is wrong, and on which line.
    pub fn parse(text: &str) -> Result<Self, WorkspaceFileError> {
        let document = document::Document::parse(text)?;
        let raw = toml::from_str(text).map_err(|error| document::toml_error(text, &error))?;
        check::check(raw, &document)
    }

    /// The names of all secrets that the file uses.
    pub fn secrets(&self) -> impl Iterator<Item = &EnvName> {
        let of_endpoints = self.webhook_endpoints.iter().filter_map(|endpoint| endpoint.secret.as_ref());
        let of_calendars =
            self.calendars.iter().filter_map(|calendar| calendar.caldav.as_ref()?.password.as_ref());
        self.tools.iter().flat_map(|tool| tool.config.secrets()).chain(of_endpoints).chain(of_calendars)
    }
}

impl FileToolConfig {
    fn secrets(&self) -> Vec<&EnvName> {
        let (headers, others) = match self {
            Self::Webhook(webhook) => {
                let named = webhook.secrets.iter().map(|(_, name)| name);
                (&webhook.headers, webhook.secret.iter().chain(named).collect())
            }
            Self::Mcp(mcp) => (&mcp.headers, Vec::new()),
            Self::CalendarAvailability { .. }
            | Self::CalendarBooking { .. }
            | Self::CalendarCancel { .. }
            | Self::Knowledge { .. } => return Vec::new(),
        };
        let of_headers = headers.iter().filter_map(|(_, text)| match text {
            TextOrEnv::Env(name) => Some(name),
            TextOrEnv::Plain(_) => None,
        });
        of_headers.chain(others).collect()
    }
}
