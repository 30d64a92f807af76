//! An assistant as it was compiled: all that a turn runs with, in one immutable version.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::calendar::{Caldav, CalendarRules};
use super::ids::{CalendarId, KnowledgeBaseId, WorkspaceId};
use super::mcp::McpServer;
use super::seal::SealedSecret;

/// A version of an assistant, kept as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssistantVersion {
    pub slug: String,
    pub name: String,
    /// With `{{variable}}`s.
    pub system_prompt: String,
    /// With `{{variable}}`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message: Option<String>,
    /// None: the server's own (`OPENAI_MODEL`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tried in order where the first cannot answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<ModelRef>,
    /// Passed through to the model.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Defaults of the conversation's variables.
    #[serde(default)]
    pub variables: Map<String, Value>,
    #[serde(default)]
    pub tools: Vec<CompiledTool>,
    /// Origins whose pages may talk to it; empty: any.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    #[serde(default)]
    pub pause_on_agent_message: bool,
}

impl AssistantVersion {
    /// Whether pages of this origin may talk to it.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

/// A model on a named connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct Fallback")]
pub struct ModelRef {
    pub connection: String,
    pub model: String,
}

/// A tool as an assistant has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompiledTool {
    pub slug: String,
    /// What the model calls it by.
    pub name: String,
    pub description: String,
    /// A JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    pub kind: ToolKind,
}

/// What a tool does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolKind {
    CalendarAvailability {
        calendar: CalendarId,
        rules: Box<CalendarRules>,
        /// The server that the calendar is on; none: it is kept here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caldav: Option<Box<Caldav>>,
    },
    CalendarBooking {
        calendar: CalendarId,
        rules: Box<CalendarRules>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caldav: Option<Box<Caldav>>,
    },
    CalendarCancel {
        calendar: CalendarId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caldav: Option<Box<Caldav>>,
    },
    Knowledge {
        base: KnowledgeBaseId,
    },
    Webhook(Box<WebhookTool>),
    /// The tool of this name at a server.
    Mcp(Box<McpServer>),
}

/// How many tools an assistant can have.
pub const MAX_TOOLS: usize = 128;

/// Whether a model can tell the tools of an assistant apart. Those of an MCP server bring names
/// that no file shows.
pub fn check_names(tools: &[CompiledTool]) -> Result<(), String> {
    if tools.len() > MAX_TOOLS {
        return Err(format!(
            "it has {} tools, those of MCP servers counted; {MAX_TOOLS} are possible",
            tools.len()
        ));
    }
    let mut known = HashMap::new();
    for tool in tools {
        if let Some(other) = known.insert(&tool.name, &tool.slug) {
            let (name, slug) = (&tool.name, &tool.slug);
            return Err(format!("both \"{other}\" and \"{slug}\" have a tool that is called {name}"));
        }
    }
    Ok(())
}

impl ToolKind {
    /// Its word in a compiled version, and in metrics.
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

/// An HTTP endpoint that a tool calls. `S` is a secret: sealed where it is stored, the name of an environment variable
/// in a workspace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
pub struct WebhookTool<S = SealedSecret> {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// With `{argument}`s and `{{variable}}`s.
    pub url: String,
    #[serde(default)]
    pub headers: Vec<(String, HeaderText<S>)>,
    /// With `{argument}`s and `{{variable}}`s; none: the arguments as JSON, or as a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default)]
    pub form: bool,
    /// Fields that are sent besides the arguments.
    #[serde(default)]
    pub static_fields: Map<String, Value>,
    /// 1,000 to 30,000.
    pub timeout_ms: u64,
    /// Signs the request, as Standard Webhooks do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<S>,
    /// Secrets by the names that `{{name}}` uses them by, over the variables of that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(String, S)>,
    /// A call that may have arrived may be sent again, whatever the method.
    #[serde(default)]
    pub idempotent: bool,
}

/// A header's value: a text, or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum HeaderText<S = SealedSecret> {
    Secret(S),
    /// With `{argument}`s and `{{variable}}`s.
    Plain(String),
}

impl<S> HeaderText<S> {
    /// The secret, if it is one.
    pub fn secret(&self) -> Option<&S> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Plain(_) => None,
        }
    }
}

// Not derived: an untagged enum would lose the inner error and its line.
impl<'de, S: Deserialize<'de>> Deserialize<'de> for HeaderText<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor<S>(PhantomData<S>);

        impl<'de, S: Deserialize<'de>> Visitor<'de> for HeaderVisitor<S> {
            type Value = HeaderText<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or { env = \"NAME\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(HeaderText::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                S::deserialize(MapAccessDeserializer::new(map)).map(HeaderText::Secret)
            }
        }

        deserializer.deserialize_any(HeaderVisitor(PhantomData))
    }
}

/// What admission needs to know of an assistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssistantSummary {
    pub workspace: WorkspaceId,
    pub current_version: i64,
    pub archived: bool,
    pub pause_on_agent_message: bool,
}
