//! Truncation of results for the model.

use serde_json::Value;

use crate::domain::tool_loop::{CallResult, json_prefix};

/// The longest result for the model, in bytes of its JSON text.
const MAX_RESULT: usize = 256 * 1024;
/// Reserved for the braces of the result and the truncation marker.
const MARGIN: usize = 128;

/// Truncates a long result as text and marks it.
pub(super) fn truncate_result(value: Value) -> CallResult {
    let text = if let Value::String(text) = value {
        text
    } else {
        let text = value.to_string();
        if text.len() <= MAX_RESULT - MARGIN {
            return CallResult::new(value);
        }
        text
    };
    CallResult::new(Value::String(truncate_text(text)))
}

/// Truncates a long text and marks it.
pub(super) fn truncate_text(text: String) -> String {
    let prefix = json_prefix(&text, MAX_RESULT - MARGIN);
    if prefix.len() == text.len() {
        return text;
    }
    format!("{prefix}\n[cut here: the whole answer has {} bytes]", text.len())
}
