//! A Model Context Protocol server of a file: its address, and the names of its allowed tools.

use std::collections::HashSet;

use serde_json::json;

use super::{MAX_URL, ToolLocation, headers, is_function_name, reject_unused_keys, timeout_ms};
use crate::domain::assistant::HeaderText;
use crate::domain::mcp::McpServer;
use crate::domain::template::is_template;
use crate::formats::workspace_file::check::check_text;
use crate::formats::workspace_file::document::WorkspaceFileError;
use crate::formats::workspace_file::raw::ToolIn;
use crate::formats::workspace_file::{FileMcp, FileTool, FileToolConfig};

const MAX_DESCRIPTION: usize = 4_096;
/// Headers that the protocol sets.
const PROTOCOL_HEADERS: [&str; 5] =
    ["accept", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

pub(super) fn check(location: ToolLocation<'_>, mut tool: ToolIn) -> Result<FileTool, WorkspaceFileError> {
    let url = tool.url.take().ok_or_else(|| location.missing("url"))?;
    check_text(location.document, &location.path("url"), &url, MAX_URL)?;
    let headers = headers(location, tool.headers.take().unwrap_or_default())?;
    for (name, text) in &headers {
        let path = format!("headers.{name}");
        if PROTOCOL_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(location.error(&path, "set by the protocol"));
        }
        if matches!(text, HeaderText::Plain(text) if is_template(text)) {
            return Err(
                location.error(&path, "placeholders have no value here: all conversations share a session")
            );
        }
    }
    if is_template(&url) {
        return Err(location.error("url", "placeholders have no value here"));
    }
    let allow = allow(location, tool.allow.take())?;
    let timeout_ms = timeout_ms(location, tool.timeout.take().as_deref())?;
    if tool.name.is_some() {
        return Err(location.error("name", "the server names its tools"));
    }
    reject_unused_keys(location, &tool)?;
    if let Some(text) = &tool.description {
        check_text(location.document, &location.path("description"), text, MAX_DESCRIPTION)?;
    }
    Ok(FileTool {
        name: tool.slug.clone(),
        slug: tool.slug,
        // For people: the model sees the server's description of each tool.
        description: tool.description.unwrap_or_default(),
        parameters: json!({ "type": "object" }),
        config: FileToolConfig::Mcp(Box::new(FileMcp {
            server: McpServer { url, headers, timeout_ms },
            allow,
        })),
    })
}

fn allow(
    location: ToolLocation<'_>,
    raw: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, WorkspaceFileError> {
    let Some(names) = raw else { return Ok(None) };
    if names.is_empty() {
        return Err(location.error("allow", "empty: name the tools that are wanted, or leave it out for all"));
    }
    let mut known = HashSet::new();
    for name in &names {
        if !is_function_name(name) {
            return Err(location.error("allow", format_args!("{name:?} is no name for a model")));
        }
        if !known.insert(name) {
            return Err(location.error("allow", format_args!("{name:?} is there twice")));
        }
    }
    Ok(Some(names))
}
