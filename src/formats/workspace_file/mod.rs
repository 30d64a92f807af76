//! The workspace file: one TOML text that describes a whole workspace. It is parsed and checked here as far as its
//! text allows; `service::apply_workspace` checks addresses, reads secrets and updates the store.

mod calendars;
mod check;
mod document;
mod knowledge_bases;
mod tables;
mod tools;
mod webhook_endpoints;

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

pub use document::WorkspaceFileError;

use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::CalendarDefinition;
use crate::domain::chat::ToolSpec;
use crate::domain::conversation::ConversationKind;
use crate::domain::event::EventType;
use crate::domain::ids::WidgetUuid;
use crate::domain::knowledge::{Format, Language};
use crate::domain::money::Money;
use crate::domain::retention::Retention;
use crate::domain::server_variable::is_server_variable;
use crate::domain::tool::{Secret, ToolConfig};
use crate::domain::workspace::Pricing;

/// The environment variable from which a secret is read when the file is applied: `{ env = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ env = \"NAME\" }")]
pub struct EnvName {
    /// Name of the environment variable, which is none of the server's own.
    #[serde(deserialize_with = "variable_name")]
    pub env: String,
}

impl<'de> Secret<'de> for EnvName {
    const HEADER: &'static str = "a text, or { env = \"NAME\" }";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

fn variable_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_server_variable(&name) {
        let problem = "is a variable of the server: a secret of this file needs a variable of its own";
        return Err(D::Error::custom(format_args!("{name} {problem}")));
    }
    Ok(name)
}

/// A checked file: every name that it uses is declared in it exactly once.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceFile {
    pub workspace: FileWorkspace,
    pub assistants: Vec<FileAssistant>,
    pub calendars: Vec<FileCalendar>,
    pub knowledge_bases: Vec<FileKnowledgeBase>,
    pub tools: Vec<FileTool>,
    pub webhook_endpoints: Vec<FileEndpoint>,
    pub conversations: Vec<FileConversation>,
}

/// The workspace itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct FileWorkspace {
    pub slug: String,
    pub name: String,
    /// The opening credit, given once, when the workspace is created.
    #[serde(default)]
    pub balance: Money,
    #[serde(default = "default_true")]
    pub auto_create_conversations: bool,
    pub balance_low: Option<Money>,
    pub tokens_per_conversation: Option<NonZeroU64>,
    pub tokens_per_day: Option<NonZeroU64>,
    /// A slug of `assistants`.
    pub default_assistant: Option<String>,
    #[serde(default)]
    pub pricing: Pricing,
    /// Not yet parsed as hosts.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    #[serde(default)]
    pub retention: Retention,
}

/// An assistant of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileAssistant {
    /// A UUID: a file writes it without the prefix that the API shows.
    pub id: Option<Uuid>,
    /// With slugs of the file's tools, whose names differ.
    pub version: AssistantVersion<String>,
    /// The secrets with which a site signs the tokens of its visitors: two at most.
    pub identity_secrets: Vec<EnvName>,
}

/// A calendar.
pub type FileCalendar = CalendarDefinition<EnvName>;

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
    /// Unique in its knowledge base.
    pub slug: String,
    pub title: String,
    pub url: Option<String>,
    pub source: FileSource,
    /// Its location, for errors that are found when its file is read.
    pub location: WorkspaceFileError,
}

/// The source of a document's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    /// Markdown.
    Text(String),
    /// A path, relative to the workspace file.
    Path(String, Format),
}

/// A tool of the file, with the defaults of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTool {
    pub slug: String,
    pub spec: ToolSpec,
    pub label: Option<String>,
    pub config: FileToolConfig,
}

/// The configuration of a file's tool: calendars and knowledge bases by slug, secrets by environment variable. Its host
/// is not yet checked.
pub type FileToolConfig = ToolConfig<String, String, EnvName>;

/// A webhook endpoint. Its host is not yet checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEndpoint {
    pub slug: String,
    pub url: String,
    pub description: Option<String>,
    /// Event types; empty: all.
    #[serde(default)]
    pub types: Vec<String>,
    /// None: one is generated, and kept.
    pub secret: Option<EnvName>,
    /// None: enabled at creation, and unchanged afterwards.
    pub enabled: Option<bool>,
}

/// A conversation with a fixed widget UUID, of type `widget` or `test`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConversation {
    #[serde(rename = "widget_uuid")]
    pub link: WidgetUuid,
    /// A slug of `assistants`.
    pub assistant: String,
    #[serde(rename = "type")]
    pub kind: ConversationKind,
}

fn default_true() -> bool {
    true
}

impl FileEndpoint {
    /// The event types, each once.
    pub fn event_types(&self) -> Vec<EventType> {
        let mut types = Vec::new();
        for kind in self.types.iter().filter_map(|word| word.parse().ok()) {
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        types
    }
}

impl WorkspaceFile {
    /// Parses and checks a file's text. The error is the first that is found, with its line.
    pub fn parse(text: &str) -> Result<Self, WorkspaceFileError> {
        let document = document::Document::parse(text)?;
        check::read(&document).map_err(tables::name_table_of_unknown_key)
    }

    /// The names of all secrets that the file uses.
    pub fn secrets(&self) -> impl Iterator<Item = &EnvName> {
        let of_endpoints = self.webhook_endpoints.iter().filter_map(|endpoint| endpoint.secret.as_ref());
        let of_calendars =
            self.calendars.iter().filter_map(|calendar| calendar.caldav.as_ref()?.password.as_ref());
        let of_tools = self.tools.iter().flat_map(|tool| tool.config.secrets());
        let of_assistants = self.assistants.iter().flat_map(|assistant| &assistant.identity_secrets);
        of_tools.chain(of_endpoints).chain(of_calendars).chain(of_assistants)
    }
}
