//! The tools of a workspace. The keys of each kind, their checks and their meaning are declared here and in the file of
//! the kind; `tools/` makes the calls.

mod given_secret;
mod mcp;
mod webhook;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::calendar::{self, Caldav, CalendarRules, CalendarSettings};
use super::chat::ToolSpec;
use super::ids::{CalendarId, KnowledgeBaseId, ToolId};
use super::invalid_field::{InvalidField, check_text};
use super::knowledge;
use super::seal::{SealedSecret, SecretField};

pub use given_secret::GivenSecret;
pub use mcp::{McpListing, McpServer};
pub use webhook::{
    HeaderText, Headers, MAX_BODY, MAX_HEADER, MAX_URL, Secret, WebhookTool, query_name, query_names,
};

/// Maximum number of tools of an assistant.
pub const MAX_TOOLS: usize = 128;
/// The most tools of a workspace, archived ones included, that are made through the API.
pub const MAX_WORKSPACE_TOOLS: i64 = 500;
const MAX_NAME: usize = 64;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 4096;
/// The longest label, in characters.
pub const MAX_LABEL: usize = 80;

/// A tool of a workspace, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    #[serde(flatten)]
    pub spec: ToolSpec,
    /// What the widget says while it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub config: ToolConfig,
    /// The tools that its MCP server listed. Other kinds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<McpListing>,
}

/// A tool with its id and slug.
#[derive(Clone, Debug)]
pub struct NamedTool {
    pub id: ToolId,
    pub slug: String,
    pub tool: Tool,
    /// Whether a workspace file created it.
    pub from_file: bool,
}

/// A tool of an assistant's version, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompiledTool {
    /// The slug of its [`Tool`]; all tools of an MCP server have the same.
    pub slug: String,
    #[serde(flatten)]
    pub spec: ToolSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub kind: CompiledConfig,
}

/// The configuration of a tool, which has one variant for each kind. `C`, `K` and `S` refer to a calendar, a knowledge
/// base and a secret: a workspace file has slugs and environment variables, a request has slugs or ids and secrets, the store has
/// ids and sealed secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    deny_unknown_fields,
    bound(deserialize = "C: Deserialize<'de>, K: Deserialize<'de>, S: Secret<'de>")
)]
pub enum ToolConfig<C = CalendarId, K = KnowledgeBaseId, S = SealedSecret> {
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
        knowledge_base: K,
    },
    Webhook(Box<WebhookTool<S>>),
    /// Several tools, each with its own name, description and schema.
    Mcp(Box<McpServer<S>>),
}

/// A configuration with the rules that its calendar had when the version was compiled.
pub type CompiledConfig = ToolConfig<Box<CompiledCalendar>>;

/// The calendar of a compiled tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredCalendar")]
pub struct CompiledCalendar {
    pub id: CalendarId,
    #[serde(flatten)]
    pub settings: CalendarSettings,
}

/// A [`CompiledCalendar`] as it is read. `caldav` is not part of a flattened struct, so its own unknown fields can be ignored where
/// it is read from the store.
#[derive(Deserialize)]
struct StoredCalendar {
    id: CalendarId,
    #[serde(flatten)]
    rules: CalendarRules,
    #[serde(default)]
    caldav: Option<Box<Caldav>>,
}

impl From<StoredCalendar> for CompiledCalendar {
    fn from(StoredCalendar { id, rules, caldav }: StoredCalendar) -> Self {
        Self { id, settings: CalendarSettings { rules, caldav } }
    }
}

/// The parts of the spec that the configuration of a tool contains. Each kind has defaults for absent fields or requires
/// them, and may refuse fields that it does not support.
#[derive(Clone, Debug, Default)]
pub struct GivenSpec {
    pub name: Option<String>,
    pub description: Option<String>,
    pub parameters: Option<Value>,
    /// Every kind may have it.
    pub label: Option<String>,
}

impl GivenSpec {
    /// The label, checked.
    pub fn label(&self) -> Result<Option<String>, InvalidField> {
        if let Some(label) = &self.label {
            check_text("label", label, MAX_LABEL)?;
        }
        Ok(self.label.clone())
    }
}

/// All kinds, as [`ToolConfig::as_str`] names them.
pub const TOOL_KINDS: [&str; 6] =
    ["calendar_availability", "calendar_booking", "calendar_cancel", "knowledge", "webhook", "mcp"];

impl<C, K, S> ToolConfig<C, K, S> {
    /// The name of the kind in a workspace file, in the API and in metrics.
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

    /// Its name, description and schema for the model, checked together with the configuration.
    pub fn check(&self, slug: &str, given: GivenSpec) -> Result<ToolSpec, InvalidField> {
        let defaults = match self {
            Self::CalendarAvailability { .. } => calendar::availability_spec(),
            Self::CalendarBooking { .. } => calendar::booking_spec(),
            Self::CalendarCancel { .. } => calendar::cancel_spec(),
            Self::Knowledge { .. } => knowledge::search_spec(),
            Self::Webhook(webhook) => return webhook.check(slug, given),
            Self::Mcp(server) => return server.check(slug, given),
        };
        if given.parameters.is_some() {
            return Err(unsupported_key("parameters", self.as_str()));
        }
        let name = given.name.unwrap_or(defaults.name);
        check_spec(name, given.description.unwrap_or(defaults.description), defaults.parameters)
    }

    /// Its calendar, if it has one.
    #[must_use]
    pub fn calendar(&self) -> Option<&C> {
        match self {
            Self::CalendarAvailability { calendar }
            | Self::CalendarBooking { calendar }
            | Self::CalendarCancel { calendar } => Some(calendar),
            Self::Knowledge { .. } | Self::Webhook(_) | Self::Mcp(_) => None,
        }
    }

    /// Its knowledge base, if it has one.
    #[must_use]
    pub fn knowledge_base(&self) -> Option<&K> {
        let Self::Knowledge { knowledge_base } = self else { return None };
        Some(knowledge_base)
    }

    /// The webhook, if it is one.
    #[must_use]
    pub fn webhook(&self) -> Option<&WebhookTool<S>> {
        let Self::Webhook(webhook) = self else { return None };
        Some(webhook)
    }

    /// The MCP server, if it is one.
    #[must_use]
    pub fn mcp(&self) -> Option<&McpServer<S>> {
        let Self::Mcp(server) = self else { return None };
        Some(server)
    }

    /// The address that its calls go to, if it has one of its own.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.webhook()
            .map(|webhook| &webhook.url)
            .or(self.mcp().map(|server| &server.url))
            .map(String::as_str)
    }

    /// The headers of its requests, if it makes any of its own.
    #[must_use]
    pub fn headers(&self) -> Option<&Headers<S>> {
        self.webhook().map(|webhook| &webhook.headers).or(self.mcp().map(|server| &server.headers))
    }

    /// All its secrets.
    #[must_use]
    pub fn secrets(&self) -> Vec<&S> {
        self.secret_fields().map(|(_, secret)| secret).collect()
    }

    /// All its secrets, with their fields.
    pub fn secret_fields(&self) -> impl Iterator<Item = (SecretField<'_>, &S)> {
        let webhook = self.webhook().into_iter().flat_map(WebhookTool::secrets);
        webhook.chain(self.mcp().into_iter().flat_map(McpServer::secrets))
    }

    /// Sets the secret of a field.
    pub fn set_secret(&mut self, field: SecretField<'_>, secret: S) {
        let (webhook, mcp) = match self {
            Self::Webhook(webhook) => (Some(webhook), None),
            Self::Mcp(server) => (None, Some(server)),
            Self::CalendarAvailability { .. }
            | Self::CalendarBooking { .. }
            | Self::CalendarCancel { .. }
            | Self::Knowledge { .. } => return,
        };
        match (field, webhook, mcp) {
            (SecretField::Header(name), Some(webhook), _) => {
                webhook.headers.insert(name.to_owned(), HeaderText::Secret(secret));
            }
            (SecretField::Header(name), _, Some(server)) => {
                server.headers.insert(name.to_owned(), HeaderText::Secret(secret));
            }
            (SecretField::Placeholder(name), Some(webhook), _) => {
                webhook.secrets.insert(name.to_owned(), secret);
            }
            (SecretField::Signing, Some(webhook), _) => webhook.secret = Some(secret),
            (
                SecretField::Header(_)
                | SecretField::Placeholder(_)
                | SecretField::Signing
                | SecretField::Password
                | SecretField::Record,
                _,
                _,
            ) => {}
        }
    }

    /// Whether a call changes a calendar, so that it cannot be tested.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self, Self::CalendarBooking { .. } | Self::CalendarCancel { .. })
    }

    /// The same configuration with other references, or the first error.
    pub fn try_map<C2, K2, S2, E>(
        &self,
        to_calendar: impl Fn(&C) -> Result<C2, E>,
        to_knowledge_base: impl Fn(&K) -> Result<K2, E>,
        to_secret: impl FnMut(SecretField<'_>, &S) -> Result<S2, E>,
    ) -> Result<ToolConfig<C2, K2, S2>, E> {
        Ok(match self {
            Self::CalendarAvailability { calendar } => {
                ToolConfig::CalendarAvailability { calendar: to_calendar(calendar)? }
            }
            Self::CalendarBooking { calendar } => {
                ToolConfig::CalendarBooking { calendar: to_calendar(calendar)? }
            }
            Self::CalendarCancel { calendar } => {
                ToolConfig::CalendarCancel { calendar: to_calendar(calendar)? }
            }
            Self::Knowledge { knowledge_base } => {
                ToolConfig::Knowledge { knowledge_base: to_knowledge_base(knowledge_base)? }
            }
            Self::Webhook(webhook) => ToolConfig::Webhook(Box::new(webhook.try_map(to_secret)?)),
            Self::Mcp(server) => ToolConfig::Mcp(Box::new(server.try_map(to_secret)?)),
        })
    }
}

impl Tool {
    /// The tools that the model sees: those that an MCP server listed, or this one. None if its calendar is not among
    /// `calendars`.
    #[must_use]
    pub fn compile(
        &self,
        slug: &str,
        calendars: &HashMap<CalendarId, CalendarSettings>,
    ) -> Vec<CompiledTool> {
        let compile_calendar = |id: &CalendarId| {
            let settings = calendars.get(id).cloned().ok_or(())?;
            Ok::<_, ()>(Box::new(CompiledCalendar { id: *id, settings }))
        };
        let kind = self.config.try_map(compile_calendar, |base| Ok(*base), |_, secret| Ok(secret.clone()));
        let Ok(kind) = kind else { return Vec::new() };
        let specs = match &self.listing {
            Some(listing) => listing.tools.as_slice(),
            None if self.config.mcp().is_some() => &[],
            None => std::slice::from_ref(&self.spec),
        };
        let compile = |spec: &ToolSpec| CompiledTool {
            slug: slug.to_owned(),
            spec: spec.clone(),
            label: self.label.clone(),
            kind: kind.clone(),
        };
        specs.iter().map(compile).collect()
    }
}

/// Checks that the tools of an assistant have distinct names and are not too many. The names of an MCP server's tools
/// are known only after it has listed them.
pub fn check_names(tools: &[CompiledTool]) -> Result<(), String> {
    if tools.len() > MAX_TOOLS {
        return Err(format!(
            "it has {} tools, those of MCP servers counted; {MAX_TOOLS} are possible",
            tools.len()
        ));
    }
    let mut known = HashMap::new();
    for tool in tools {
        if let Some(other) = known.insert(&tool.spec.name, &tool.slug) {
            let (name, slug) = (&tool.spec.name, &tool.slug);
            return Err(format!("both \"{other}\" and \"{slug}\" have a tool that is called {name}"));
        }
    }
    Ok(())
}

/// The error for a key that tools of this kind do not have.
#[must_use]
pub fn unsupported_key(key: &str, kind: &str) -> InvalidField {
    InvalidField::new(key, format_args!("a tool of kind \"{kind}\" does not have it"))
}

/// Whether every model vendor accepts this as the name of a function.
fn is_function_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn check_spec(name: String, description: String, parameters: Value) -> Result<ToolSpec, InvalidField> {
    if !is_function_name(&name) {
        let problem = format!("\"{name}\" is no name for a model: 1 to {MAX_NAME} of A-Z a-z 0-9 _ -");
        return Err(InvalidField::new("name", problem));
    }
    check_text("description", &description, MAX_DESCRIPTION)?;
    Ok(ToolSpec { name, description, parameters })
}

/// The schema of a tool without arguments.
fn no_parameters() -> Value {
    json!({ "type": "object", "properties": {} })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_listed_by_its_name() {
        let unknown = serde_json::from_value::<ToolConfig<String, String>>(json!({ "none": {} }));

        let kinds = TOOL_KINDS.map(|kind| format!("`{kind}`")).join(", ");
        let error = unknown.unwrap_err().to_string();
        assert!(error.contains(&format!("expected one of {kinds}")), "{error}");
    }
}
