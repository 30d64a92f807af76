//! A Model Context Protocol server whose tools an assistant uses: where it is, and what it
//! listed when it was last asked.

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
    /// For a call, or for listing, with the connection and the handshake: 1,000 to 30,000.
    pub timeout_ms: u64,
}

/// The tools of a server, as a workspace keeps them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpTools {
    pub server: McpServer,
    /// Names; none: all that the server lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Of those that are allowed, what the server listed, by name. At least one.
    pub found: Vec<McpToolSpec>,
    /// Since when the list is as it is.
    pub found_at: Timestamp,
}

/// A tool that a server listed: its own name, words and schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpToolSpec {
    pub name: String,
    pub description: String,
    /// A JSON Schema of type `object`.
    pub parameters: Value,
}

impl McpTools {
    /// What is allowed and not listed.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let is_found = |name: &&String| !self.found.iter().any(|tool| tool.name == **name);
        self.allow.iter().flatten().filter(is_found).map(String::as_str)
    }

    /// Takes a new list; whether it differs from the one that was kept.
    pub fn update_tools(&mut self, found: Vec<McpToolSpec>, now: Timestamp) -> bool {
        if self.found == found {
            return false;
        }
        self.found = found;
        self.found_at = now;
        true
    }
}
