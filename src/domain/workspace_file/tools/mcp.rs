//! A Model Context Protocol server of a file: where it is, and which of its tools are wanted.

use std::collections::HashSet;

use serde_json::json;

use super::{MAX_URL, Place, headers, is_name, refuse_rest, timeout_ms};
use crate::domain::template::is_template;
use crate::domain::workspace_file::check::check_text;
use crate::domain::workspace_file::document::FileFault;
use crate::domain::workspace_file::written::{TextIn, ToolIn};
use crate::domain::workspace_file::{FileMcp, FileTool, FileUses};

const MAX_DESCRIPTION: usize = 4_096;
/// Headers that the protocol sets.
const OF_PROTOCOL: [&str; 5] =
    ["accept", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

pub(super) fn check(place: Place<'_>, mut tool: ToolIn) -> Result<FileTool, FileFault> {
    let url = tool.url.take().ok_or_else(|| place.missing("url"))?;
    check_text(place.document, &place.path("url"), &url, MAX_URL)?;
    let headers = headers(place, tool.headers.take().unwrap_or_default())?;
    for (name, text) in &headers {
        let path = format!("headers.{name}");
        if OF_PROTOCOL.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(place.fault(&path, "set by the protocol"));
        }
        if matches!(text, TextIn::Plain(text) if is_template(text)) {
            return Err(
                place.fault(&path, "placeholders have no value here: all conversations share a session")
            );
        }
    }
    if is_template(&url) {
        return Err(place.fault("url", "placeholders have no value here"));
    }
    let allow = allow(place, tool.allow.take())?;
    let timeout_ms = timeout_ms(place, tool.timeout.take().as_deref())?;
    if tool.name.is_some() {
        return Err(place.fault("name", "the server names its tools"));
    }
    refuse_rest(place, &tool)?;
    if let Some(text) = &tool.description {
        check_text(place.document, &place.path("description"), text, MAX_DESCRIPTION)?;
    }
    Ok(FileTool {
        name: tool.slug.clone(),
        slug: tool.slug,
        // For people: models are told what the server says of each tool.
        description: tool.description.unwrap_or_default(),
        parameters: json!({ "type": "object" }),
        uses: FileUses::Mcp(Box::new(FileMcp { url, headers, allow, timeout_ms })),
    })
}

fn allow(place: Place<'_>, written: Option<Vec<String>>) -> Result<Option<Vec<String>>, FileFault> {
    let Some(names) = written else { return Ok(None) };
    if names.is_empty() {
        return Err(place.fault("allow", "empty: name the tools that are wanted, or leave it out for all"));
    }
    let mut known = HashSet::new();
    for name in &names {
        if !is_name(name) {
            return Err(place.fault("allow", format_args!("{name:?} is no name for a model")));
        }
        if !known.insert(name) {
            return Err(place.fault("allow", format_args!("{name:?} is there twice")));
        }
    }
    Ok(Some(names))
}
