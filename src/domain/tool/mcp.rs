//! A Model Context Protocol server whose tools an assistant uses, and the tools that it listed.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::webhook::{
    MAX_URL, check_headers, check_timeout, default_timeout, header_secrets, map_headers, read_timeout,
};
use super::{GivenSpec, HeaderText, Headers, MAX_DESCRIPTION, Secret, is_function_name, unsupported_key};
use crate::domain::chat::ToolSpec;
use crate::domain::invalid_field::{InvalidField, check_text};
use crate::domain::seal::{SealedSecret, SecretField};
use crate::domain::template::is_template;

/// Headers that the protocol sets.
const PROTOCOL_HEADERS: [&str; 5] =
    ["accept", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

/// A server, reached over streamable HTTP. `S` is a secret, as in [`super::ToolConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Secret<'de>"))]
pub struct McpServer<S = SealedSecret> {
    pub url: String,
    /// Sent with each request. Placeholders are not possible, because conversations share a session.
    #[serde(default = "Headers::new")]
    pub headers: Headers<S>,
    /// For a call or a listing, including the connection and the handshake: 1 to 30 seconds.
    #[serde(
        default = "default_timeout",
        serialize_with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required::serialize",
        deserialize_with = "read_timeout"
    )]
    pub timeout: Duration,
    /// Names of the tools to use. `None`: all that the server lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
}

/// The tools that a server listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpListing {
    /// The allowed tools, sorted by name. At least one.
    pub tools: Vec<ToolSpec>,
    /// The time since which the list has not changed.
    pub listed_since: Timestamp,
}

impl<S> McpServer<S> {
    pub(super) fn check(&self, slug: &str, given: GivenSpec) -> Result<ToolSpec, InvalidField> {
        check_text("url", &self.url, MAX_URL)?;
        check_headers(&self.headers)?;
        for (name, text) in &self.headers {
            let error = |problem: &str| Err(InvalidField::new(format_args!("headers.{name}"), problem));
            if PROTOCOL_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return error("set by the protocol");
            }
            if matches!(text, HeaderText::Plain(text) if is_template(text)) {
                return error("placeholders have no value here: all conversations share a session");
            }
        }
        if is_template(&self.url) {
            return Err(InvalidField::new("url", "placeholders have no value here"));
        }
        self.check_allow()?;
        check_timeout(self.timeout)?;
        if given.name.is_some() {
            return Err(InvalidField::new("name", "the server names its tools"));
        }
        if given.parameters.is_some() {
            return Err(unsupported_key("parameters", "mcp"));
        }
        if let Some(text) = &given.description {
            check_text("description", text, MAX_DESCRIPTION)?;
        }
        Ok(ToolSpec {
            name: slug.to_owned(),
            // Not for the model, which sees the server's description of each tool.
            description: given.description.unwrap_or_default(),
            parameters: json!({ "type": "object" }),
        })
    }

    fn check_allow(&self) -> Result<(), InvalidField> {
        let error = |problem: String| Err(InvalidField::new("allow", problem));
        if self.allow.as_ref().is_some_and(Vec::is_empty) {
            return error("empty: list the tools to use, or omit it to use all".to_owned());
        }
        let mut known = HashSet::new();
        for name in self.allow.iter().flatten() {
            if !is_function_name(name) {
                return error(format!("{name:?} is no name for a model"));
            }
            if !known.insert(name) {
                return error(format!("{name:?} is there twice"));
            }
        }
        Ok(())
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (SecretField<'_>, &S)> {
        header_secrets(&self.headers)
    }

    /// The same server with other secrets, or the first error.
    pub fn try_map<S2, E>(
        &self,
        to_secret: impl FnMut(SecretField<'_>, &S) -> Result<S2, E>,
    ) -> Result<McpServer<S2>, E> {
        Ok(McpServer {
            url: self.url.clone(),
            headers: map_headers(&self.headers, to_secret)?,
            timeout: self.timeout,
            allow: self.allow.clone(),
        })
    }
}

impl McpListing {
    /// The allowed tools that the server does not list.
    pub fn missing<'a>(&'a self, allow: Option<&'a [String]>) -> impl Iterator<Item = &'a str> {
        let is_missing = |name: &&String| !self.tools.iter().any(|tool| tool.name == **name);
        allow.into_iter().flatten().filter(is_missing).map(String::as_str)
    }

    /// The next list; `listed_since` stays if it is the same.
    #[must_use]
    pub fn next(tools: Vec<ToolSpec>, previous: Option<&Self>, now: Timestamp) -> Self {
        let listed_since =
            previous.filter(|previous| previous.tools == tools).map_or(now, |same| same.listed_since);
        Self { tools, listed_since }
    }
}
