//! How much of an answer reaches the model.

use serde_json::Value;

use crate::domain::tool_loop::CallResult;

/// The longest result that reaches the model, in bytes of its JSON text.
const MAX_SHOWN: usize = 256 * 1024;
/// Of these, what the result's own braces and the marker of a cut may take.
const MARGIN: usize = 128;

/// A result; one that is too long is cut, as text, and says so.
pub(super) fn shown(value: Value) -> CallResult {
    let text = if let Value::String(text) = value {
        text
    } else {
        let text = value.to_string();
        if text.len() <= MAX_SHOWN - MARGIN {
            return CallResult::new(value);
        }
        text
    };
    CallResult::new(Value::String(bounded(text)))
}

/// A text that is too long is cut, and says so.
pub(super) fn bounded(text: String) -> String {
    let kept = cut(&text, MAX_SHOWN - MARGIN);
    if kept.len() == text.len() {
        return text;
    }
    format!("{kept}\n[cut here: the whole answer has {} bytes]", text.len())
}

/// The longest beginning of a text that takes at most `max` bytes as a JSON string.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let mut left = max;
    for (at, c) in text.char_indices() {
        let size = match c {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if size > left {
            return &text[..at];
        }
        left -= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_what_json_makes_of_a_text_and_splits_no_character() {
        for (text, max, kept) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("a\"b", 2, "a"),
            ("a\u{1}", 6, "a"),
            ("a\u{1}", 7, "a\u{1}"),
            ("🙂", 3, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, max), kept, "{text:?} at {max}");
        }
        let all: String = ('\u{1}'..'\u{300}').collect();
        assert_eq!(cut(&all, Value::from(all.as_str()).to_string().len() - 2), all);
        assert!(cut(&all, Value::from(all.as_str()).to_string().len() - 3).len() < all.len());
    }
}
