//! Lone surrogates in JSON. A vendor that cuts its text into pieces of UTF-16 sends the halves of an emoji in two chunks.

/// Replaces escapes of lone surrogates by the escape of U+FFFD, so that the rest of the text can be read.
pub(in crate::model) fn replace_lone(json: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some((&byte, after)) = rest.split_first() {
        let length = match (byte, code_unit(rest)) {
            (b'\\', Some(0xD800..=0xDBFF)) if is_low(&rest[6..]) => 12,
            (b'\\', Some(0xD800..=0xDFFF)) => {
                replaced.extend_from_slice(br"\ufffd");
                rest = &rest[6..];
                continue;
            }
            // The byte after a backslash begins no escape.
            (b'\\', _) if !after.is_empty() => 2,
            _ => 1,
        };
        replaced.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    replaced
}

/// The code unit of the escape `\uXXXX` at the beginning.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(br"\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_low(json: &[u8]) -> bool {
    matches!(code_unit(json), Some(0xDC00..=0xDFFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        let cases = [
            (r#"{"a": "\ud83d"}"#, r#"{"a": "\ufffd"}"#),
            (r#"{"a": "\ude00 x"}"#, r#"{"a": "\ufffd x"}"#),
            (r#"{"a": "\ud83d\ude00"}"#, r#"{"a": "\ud83d\ude00"}"#),
            (r#"{"a": "\ud83d\ud83d\ude00"}"#, r#"{"a": "\ufffd\ud83d\ude00"}"#),
            (r#"{"a": "\\ud83d"}"#, r#"{"a": "\\ud83d"}"#),
            (r#"{"a": "\\\ud83d\""}"#, r#"{"a": "\\\ufffd\""}"#),
            (r#"{"a": "\u00e4 ü"}"#, r#"{"a": "\u00e4 ü"}"#),
            (r#"{"a": "\ud8"#, r#"{"a": "\ud8"#),
            (r"\", r"\"),
        ];
        for (json, replaced) in cases {
            assert_eq!(String::from_utf8(replace_lone(json.as_bytes())).unwrap(), replaced);
        }
    }
}
