//! An assistant as it was compiled: all that a turn runs with, in one immutable version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use super::clock::Micros;
use super::conversation_variables::VisitorVariable;
use super::error::Error;
use super::from_object::from_object;
use super::ids::{AssistantId, WorkspaceId};
use super::invalid_field::{InvalidField, check_text};
use super::schema::Origin;
use super::template::variable_names;
use super::tool::{CompiledTool, MAX_TOOLS};
use super::widget_settings::WidgetSettings;

/// The most assistants of a workspace, archived ones included, that are made through the API.
pub const MAX_ASSISTANTS: i64 = 200;
/// The largest version of one, with the definitions of its tools, in bytes of JSON.
pub const MAX_VERSION_BYTES: usize = 4 * 1024 * 1024;

/// The longest name of an assistant or a model, in characters.
const MAX_NAME: usize = 200;
/// The longest system prompt, in characters; also once it is filled in.
pub const MAX_PROMPT: usize = 256 * 1024;
/// The longest first message, in characters; also once it is filled in.
pub const MAX_FIRST_MESSAGE: usize = 32 * 1024;
/// Model parameters that the server sets itself.
pub const RESERVED_PARAMETERS: [&str; 5] = ["model", "messages", "tools", "stream", "n"];

/// A version of an assistant, stored as JSON. `T` is a tool: in a workspace file and in requests, the slug of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssistantVersion<T = CompiledTool> {
    #[schema(example = "front-desk", pattern = "^[a-z0-9_-]{1,64}$")]
    pub slug: String,
    #[schema(example = "Front desk", pattern = r"\S", max_length = 200)]
    pub name: String,
    /// With `{{variable}}`s.
    #[schema(example = "You are the front desk of {{company}}.", pattern = r"\S", max_length = 262_144)]
    pub system_prompt: String,
    /// With `{{variable}}`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Hello!", pattern = r"\S", max_length = 32_768)]
    pub first_message: Option<String>,
    /// By default the server's model (`OPENAI_MODEL`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "gpt-4.1-mini", pattern = r"\S", max_length = 200)]
    pub model: Option<String>,
    /// Tried in order where the first cannot answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<ModelRef>,
    /// Passed through to the model.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>, example = json!({"temperature": 0.3}))]
    pub parameters: Map<String, Value>,
    /// The operator's own variables, which nobody overrides.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>, example = json!({"company": "Acme"}))]
    pub variables: Map<String, Value>,
    /// The variables that visitors may set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub visitor_variables: BTreeMap<String, VisitorVariable>,
    #[serde(default = "Vec::new")]
    #[schema(value_type = Vec<String>, example = json!(["orders"]), max_items = 128)]
    pub tools: Vec<T>,
    /// Origins whose pages may talk to it; empty: any.
    #[serde(default)]
    #[schema(value_type = Vec<Origin>, inline, example = json!(["https://www.example.com"]))]
    pub allowed_origins: Vec<String>,
    #[serde(default)]
    pub pause_on_agent_message: bool,
    /// Whether visitors may create conversations of type `test`, whose replies are free by default. A key may always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_test: bool,
    /// The looks of its chat widget, and what it asks and offers.
    #[serde(default, skip_serializing_if = "WidgetSettings::is_default")]
    #[schema(inline)]
    pub widget: WidgetSettings,
}

impl<T> AssistantVersion<T> {
    /// The same assistant with other tools.
    #[must_use]
    pub fn with_tools<T2>(&self, tools: Vec<T2>) -> AssistantVersion<T2> {
        AssistantVersion {
            slug: self.slug.clone(),
            name: self.name.clone(),
            system_prompt: self.system_prompt.clone(),
            first_message: self.first_message.clone(),
            model: self.model.clone(),
            fallbacks: self.fallbacks.clone(),
            parameters: self.parameters.clone(),
            variables: self.variables.clone(),
            visitor_variables: self.visitor_variables.clone(),
            tools,
            allowed_origins: self.allowed_origins.clone(),
            pause_on_agent_message: self.pause_on_agent_message,
            allow_test: self.allow_test,
            widget: self.widget.clone(),
        }
    }

    /// The variables that the prompt or the first message uses and the assistant does not declare, as warnings. They are no errors,
    /// because a key may set them.
    #[must_use]
    pub fn undefined_variables(&self) -> Option<String> {
        let texts = std::iter::once(&self.system_prompt).chain(&self.first_message);
        let names: BTreeSet<&str> = texts.flat_map(|text| variable_names(text)).collect();
        let is_undefined =
            |name: &&str| !self.variables.contains_key(*name) && !self.visitor_variables.contains_key(*name);
        let undefined = names.into_iter().filter(is_undefined);
        let undefined: Vec<String> = undefined.map(|name| format!("{{{{{name}}}}}")).collect();
        if undefined.is_empty() {
            return None;
        }
        Some(format!(
            "assistant {}: neither `variables` nor `visitor_variables` has {}: empty unless an API key sets it",
            self.slug,
            undefined.join(", ")
        ))
    }

    /// Warnings about settings that have no effect; `has_connection` tells which model connections are configured.
    pub fn warnings(&self, has_connection: impl Fn(&str) -> bool) -> Vec<String> {
        let unknown = self.fallbacks.iter().filter(|fallback| !has_connection(&fallback.connection));
        let unknown = unknown.map(|ModelRef { connection, model }| {
            format!(
                "assistant {}: the fallback to {model} is passed over, for the configuration has no connection \
                 \"{connection}\"",
                self.slug
            )
        });
        unknown.chain(self.undefined_variables()).collect()
    }

    /// The heading of its chat.
    #[must_use]
    pub fn widget_title(&self) -> &str {
        self.widget.title.as_ref().unwrap_or(&self.name)
    }

    /// Whether pages of this origin may talk to it.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

impl AssistantVersion<String> {
    /// The names of all fields.
    pub const FIELDS: [&str; 14] = [
        "slug",
        "name",
        "system_prompt",
        "first_message",
        "model",
        "fallbacks",
        "parameters",
        "variables",
        "visitor_variables",
        "tools",
        "allowed_origins",
        "pause_on_agent_message",
        "allow_test",
        "widget",
    ];

    /// Checks all fields but the slug, and not whether its tools exist.
    pub fn check(&self) -> Result<(), InvalidField> {
        check_text("name", &self.name, MAX_NAME)?;
        check_text("system_prompt", &self.system_prompt, MAX_PROMPT)?;
        if let Some(text) = &self.first_message {
            check_text("first_message", text, MAX_FIRST_MESSAGE)?;
        }
        if let Some(model) = &self.model {
            check_text("model", model, MAX_NAME)?;
        }
        if let Some(key) = RESERVED_PARAMETERS.iter().find(|key| self.parameters.contains_key(**key)) {
            return Err(InvalidField::new(format_args!("parameters.{key}"), "set by the server itself"));
        }
        for (at, origin) in self.allowed_origins.iter().enumerate() {
            if !is_origin(origin) {
                let problem =
                    format_args!("\"{origin}\" is not an origin such as \"https://www.example.com\"");
                return Err(InvalidField::new(format_args!("allowed_origins[{at}]"), problem));
            }
        }
        self.check_visitor_variables()?;
        self.widget.check(&self.visitor_variables).map_err(|error| error.within("widget"))?;
        if self.tools.len() > MAX_TOOLS {
            return Err(InvalidField::new("tools", format_args!("more than {MAX_TOOLS} tools")));
        }
        Ok(())
    }
}

impl AssistantVersion {
    /// The same assistant with the slugs of its tools, as it was written.
    #[must_use]
    pub fn source(&self) -> AssistantVersion<String> {
        let mut slugs: Vec<String> = Vec::new();
        for tool in &self.tools {
            // All tools of an MCP server have one slug.
            if !slugs.contains(&tool.slug) {
                slugs.push(tool.slug.clone());
            }
        }
        self.with_tools(slugs)
    }
}

/// Whether a browser would send this text as `Origin`.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
}

/// A stored assistant with its current version, archived or not.
#[derive(Clone, Debug)]
pub struct Assistant {
    pub id: AssistantId,
    pub current_version: i64,
    pub version: AssistantVersion,
    /// Whether a workspace file created it.
    pub from_file: bool,
    pub archived_at: Option<Micros>,
    pub created_at: Micros,
    /// The creation of the current version.
    pub updated_at: Micros,
}

/// A version of a stored assistant.
#[derive(Clone, Debug)]
pub struct NumberedVersion {
    pub number: i64,
    pub version: AssistantVersion,
    pub created_at: Micros,
}

/// The error of a version that an assistant does not have; `name` is its number as it was sent.
#[must_use]
pub fn version_not_found(name: &str) -> Error {
    Error::NotFound { resource: "Version", code: "assistant_version_not_found", name: name.to_owned() }
}

/// A model on a named connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ModelRef {
    pub connection: String,
    pub model: String,
}

from_object!(ModelRef, "{ connection = \"NAME\", model = \"NAME\" }");

/// What admission needs to know of an assistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssistantSummary {
    pub workspace: WorkspaceId,
    pub current_version: i64,
    pub archived: bool,
    pub pause_on_agent_message: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_fields_are_named() {
        let unknown = serde_json::from_value::<AssistantVersion<String>>(json!({ "none": 1 }));

        let fields = AssistantVersion::<String>::FIELDS.map(|field| format!("`{field}`")).join(", ");
        let error = unknown.unwrap_err().to_string();
        assert!(error.contains(&format!("expected one of {fields}")), "{error}");
    }

    #[test]
    fn the_tools_of_one_server_are_one_slug() {
        let tool = |slug: &str, name: &str| {
            json!({
                "slug": slug, "name": name, "description": "", "parameters": {},
                "kind": { "knowledge": { "knowledge_base": "kb_00000000000000000000000000" } },
            })
        };
        let tools = [tool("crm", "find"), tool("crm", "say"), tool("faq", "search")];
        let version = json!({ "slug": "a", "name": "A", "system_prompt": "x", "tools": tools });
        let version: AssistantVersion = serde_json::from_value(version).unwrap();

        assert_eq!(version.source().tools, ["crm", "faq"]);
    }
}
