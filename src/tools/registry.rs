//! The tools of one version of an assistant, by function name.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::schema::ArgumentSchema;
use super::{Adapters, Tool, build};
use crate::domain::assistant::AssistantVersion;
use crate::domain::chat::ToolSpec;
use crate::domain::tool::CompiledTool;
use crate::domain::tool_loop::Toolbox;

/// Maximum length of an unknown tool's name in an error text, in characters.
const MAX_NAME: usize = 64;

/// A tool whose configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool `{tool}`: {problem}")]
pub struct ToolError {
    /// Its slug.
    pub tool: String,
    /// The problem. Contains no secret.
    pub problem: String,
}

impl ToolError {
    fn new(tool: &CompiledTool, problem: impl Into<String>) -> Self {
        Self { tool: tool.slug.clone(), problem: problem.into() }
    }
}

/// An assistant's tools, in its order. Build it once per version, because it compiles the schemas.
pub struct Toolset {
    entries: Vec<Entry>,
    specs: Arc<[ToolSpec]>,
    spec_bytes: usize,
}

struct Entry {
    tool: Arc<dyn Tool>,
    schema: ArgumentSchema,
}

impl Toolset {
    /// Builds the tools of a version. Fails if a configuration is invalid or two tools have the same name.
    pub fn build(compiled: &AssistantVersion, adapters: &Adapters) -> Result<Self, ToolError> {
        Self::from_tools(&compiled.tools, adapters)
    }

    /// The same for tools outside a version.
    pub fn from_tools(tools: &[CompiledTool], adapters: &Adapters) -> Result<Self, ToolError> {
        let mut entries: Vec<Entry> = Vec::with_capacity(tools.len());
        for tool in tools {
            if entries.iter().any(|entry| entry.tool.spec().name == tool.spec.name) {
                return Err(ToolError::new(tool, format!("another tool is named `{}`, too", tool.spec.name)));
            }
            let schema = ArgumentSchema::compile(&tool.spec.parameters)
                .map_err(|problem| ToolError::new(tool, format!("parameters: {problem}")))?;
            let tool = build(tool, adapters).map_err(|problem| ToolError::new(tool, problem))?;
            entries.push(Entry { tool, schema });
        }
        let specs: Arc<[ToolSpec]> = entries.iter().map(|entry| entry.tool.spec().clone()).collect();
        let spec_bytes = serde_json::to_string(&*specs).map_or(0, |text| text.len());
        Ok(Self { entries, specs, spec_bytes })
    }

    /// The specs for the model, in the assistant's order.
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        Arc::clone(&self.specs)
    }

    /// The size of the specs in a request, in bytes of JSON.
    pub fn spec_bytes(&self) -> usize {
        self.spec_bytes
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.find(name).map(|entry| &entry.tool)
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tool.spec().name == name)
    }

    fn unknown_tool(&self, name: &str) -> String {
        let name: String = name.chars().take(MAX_NAME).collect();
        if self.entries.is_empty() {
            return format!("There is no tool `{name}`: there are no tools.");
        }
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.tool.spec().name.as_str()).collect();
        format!("There is no tool `{name}`. The tools are: {}.", names.join(", "))
    }
}

impl Toolbox for Toolset {
    fn prepare(&self, name: &str, arguments: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        match self.find(name) {
            Some(entry) => entry.schema.prepare(arguments),
            None => Err(self.unknown_tool(name)),
        }
    }

    fn is_repeatable(&self, name: &str) -> bool {
        self.get(name).is_some_and(|tool| tool.is_repeatable())
    }
}

impl fmt::Debug for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.tool.spec().name)).finish()
    }
}
