//! An assistant as it was compiled: all that a turn runs with, in one immutable version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conversation_variables::VisitorVariable;
use super::ids::WorkspaceId;
use super::tool::CompiledTool;

/// A version of an assistant, stored as JSON. `T` is a tool: its slug in a workspace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssistantVersion<T = CompiledTool> {
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
    /// The operator's own variables, which nobody overrides.
    #[serde(default)]
    pub variables: Map<String, Value>,
    /// The variables that visitors may set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub visitor_variables: BTreeMap<String, VisitorVariable>,
    #[serde(default = "Vec::new")]
    pub tools: Vec<T>,
    /// Origins whose pages may talk to it; empty: any.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    #[serde(default)]
    pub pause_on_agent_message: bool,
    /// Whether visitors may create conversations of type `test`, whose replies are free by default. A key may always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_test: bool,
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
        }
    }

    /// Whether pages of this origin may talk to it.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

/// A model on a named connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ connection = \"NAME\", model = \"NAME\" }")]
pub struct ModelRef {
    pub connection: String,
    pub model: String,
}

/// What admission needs to know of an assistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssistantSummary {
    pub workspace: WorkspaceId,
    pub current_version: i64,
    pub archived: bool,
    pub pause_on_agent_message: bool,
}
