//! A Model Context Protocol server whose tools an assistant uses: its address, and its stored tool list.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assistant::HeaderText;
use super::seal::SealedSecret;

/// The address of a server and the headers sent to it, over streamable HTTP. `S` is a secret, as in a webhook tool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
pub struct McpServer<S = SealedSecret> {
    pub url: String,
    /// Sent with each request, without placeholders: conversations share a session.
    #[serde(default)]
    pub headers: Vec<(String, HeaderText<S>)>,
    /// For a call or a listing, including connection and handshake: 1,000 to 30,000.
    pub timeout_ms: u64,
}

/// The tools of a server, as stored in a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpTools {
    pub server: McpServer,
    /// The names of the allowed tools; `None`: all that the server lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The allowed tools that the server listed, by name. At least one.
    pub found: Vec<McpToolSpec>,
    /// The time since which the list has not changed.
    pub found_at: Timestamp,
}

/// A tool that a server listed, with the server's own name, description and schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpToolSpec {
    pub name: String,
    pub description: String,
    /// A JSON Schema of type `object`.
    pub parameters: Value,
}

impl McpTools {
    /// The names of allowed tools that the server did not list.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let is_found = |name: &&String| !self.found.iter().any(|tool| tool.name == **name);
        self.allow.iter().flatten().filter(is_found).map(String::as_str)
    }

    /// Replaces the list, and returns whether it has changed.
    pub fn update_tools(&mut self, found: Vec<McpToolSpec>, now: Timestamp) -> bool {
        if self.found == found {
            return false;
        }
        self.found = found;
        self.found_at = now;
        true
    }
}
