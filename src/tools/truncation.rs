//! Truncation of results for the model.

use serde_json::Value;

use crate::domain::tool_loop::CallResult;

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

/// The longest prefix of a text that takes at most `max` bytes as a JSON string.
pub(super) fn json_prefix(text: &str, max: usize) -> &str {
    let mut budget = max;
    for (at, c) in text.char_indices() {
        let size = match c {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if size > budget {
            return &text[..at];
        }
        budget -= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_counts_json_escapes_and_splits_no_character() {
        for (text, max, prefix) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("a\"b", 2, "a"),
            ("a\u{1}", 6, "a"),
            ("a\u{1}", 7, "a\u{1}"),
            ("🙂", 3, ""),
            ("", 0, ""),
        ] {
            assert_eq!(json_prefix(text, max), prefix, "{text:?} at {max}");
        }
        let all: String = ('\u{1}'..'\u{300}').collect();
        assert_eq!(json_prefix(&all, Value::from(all.as_str()).to_string().len() - 2), all);
        assert!(json_prefix(&all, Value::from(all.as_str()).to_string().len() - 3).len() < all.len());
    }
}
