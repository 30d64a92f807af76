//! The result of a tool call, for the model.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

use crate::domain::chat::{clean_text, clean_value};
use crate::domain::tool_loop::CallResult;
use crate::tools::secrets::Secrets;
use crate::tools::truncation::{truncate_result, truncate_text};

/// Structured content if there is any, otherwise the texts; images and other content are only named.
pub(super) fn read(response: CallToolResult, secrets: &Secrets<'_>) -> CallResult {
    let is_error = response.is_error == Some(true);
    if let Some(value) = response.structured_content.filter(|value| !value.is_null() && !is_error) {
        return truncate_result(secrets.redact_value(clean_value(value)));
    }
    let parts: Vec<String> = response.content.into_iter().map(part).collect();
    let text = secrets.redact_text(clean_text(parts.join("\n")));
    if !is_error {
        return truncate_result(Value::String(text));
    }
    let text = if text.trim().is_empty() { "The tool failed.".to_owned() } else { text };
    CallResult::failed(truncate_text(text))
}

fn part(block: ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Image(image) => format!("[an image, {}, is not shown]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[an audio clip, {}, is not shown]", audio.mime_type),
        ContentBlock::Resource(_) => "[a resource is not shown]".to_owned(),
        ContentBlock::ResourceLink(link) => format!("[a link to the resource {}]", link.uri),
        _ => "[something is not shown]".to_owned(),
    }
}
