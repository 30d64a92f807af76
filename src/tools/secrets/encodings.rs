//! Finds a secret in any mix of encodings: plain, escaped in JSON (also in JSON within JSON), percent-encoded in a
//! URL or form. The mixes cannot be enumerated, so a multi-pattern search does not replace this matcher.

use std::ops::Range;

/// The first occurrence of `secret` in `text` from `from` on. The secret must not be empty.
pub(super) fn find(text: &str, secret: &str, from: usize) -> Option<Range<usize>> {
    let first = secret.bytes().next()?;
    let starts = text.bytes().enumerate().skip(from).filter(|(_, byte)| {
        *byte == first || *byte == b'\\' || *byte == b'%' || (*byte == b'+' && first == b' ')
    });
    starts.map(|(at, _)| at).find_map(|at| Some(at..match_end(text.as_bytes(), secret, at)?))
}

/// The furthest end of a match that starts at `at`.
fn match_end(text: &[u8], secret: &str, at: usize) -> Option<usize> {
    // Ambiguous text (two backslashes may be one escaped backslash) is matched both ways.
    let mut positions = vec![at];
    for c in secret.chars() {
        let mut next = Vec::new();
        for position in positions {
            push_encoding_ends(text, position, c, &mut next);
        }
        if next.is_empty() {
            return None;
        }
        next.sort_unstable();
        next.dedup();
        positions = next;
    }
    positions.last().copied()
}

/// Adds the ends of all encodings of `c` at `at`.
fn push_encoding_ends(text: &[u8], at: usize, c: char, next: &mut Vec<usize>) {
    let rest = text.get(at..).unwrap_or_default();
    let mut buffer = [0; 4];
    let plain = c.encode_utf8(&mut buffer).as_bytes();
    if rest.starts_with(plain) {
        next.push(at + plain.len());
    }
    if c == ' ' && rest.first() == Some(&b'+') {
        next.push(at + 1);
    }
    if let Some(length) = percent_encoded(rest, plain) {
        next.push(at + length);
    }
    let slashes = backslashes(rest);
    if slashes == 0 {
        return;
    }
    if c == '\\' {
        next.extend([2, 4, 8].iter().filter(|length| **length <= slashes).map(|length| at + length));
    }
    let escaped = rest.get(slashes..).unwrap_or_default();
    let short_escape = match c {
        '"' => b'"',
        '/' => b'/',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        _ => 0,
    };
    if short_escape != 0 && escaped.first() == Some(&short_escape) {
        next.push(at + slashes + 1);
    }
    if let Some(length) = unicode_escaped(rest, c) {
        next.push(at + length);
    }
}

/// `%2B`, `%2b`, and the double encoding `%252b`.
fn percent_encoded(text: &[u8], bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for byte in bytes {
        if text.get(at) != Some(&b'%') {
            return None;
        }
        at += 1;
        let encodes_byte = |at: usize| hex(text.get(at..at + 2)?).filter(|value| *value == u32::from(*byte));
        while encodes_byte(at).is_none() && text.get(at..at + 2) == Some(b"25") {
            at += 2;
        }
        encodes_byte(at)?;
        at += 2;
    }
    Some(at)
}

/// `\u002B` after one or more backslashes; two such escapes for a character of two UTF-16 units.
fn unicode_escaped(text: &[u8], c: char) -> Option<usize> {
    let mut at = 0;
    let mut units = [0; 2];
    for unit in c.encode_utf16(&mut units) {
        let slashes = backslashes(text.get(at..)?);
        at += slashes;
        if slashes == 0 || text.get(at) != Some(&b'u') || hex(text.get(at + 1..at + 5)?)? != u32::from(*unit)
        {
            return None;
        }
        at += 5;
    }
    Some(at)
}

/// The number of backslashes here; JSON in JSON in JSON has eight for one.
fn backslashes(text: &[u8]) -> usize {
    text.iter().take(9).take_while(|byte| **byte == b'\\').count()
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_encoding() {
        let secret = "a/b c+\"é🙂\\";
        let in_json = serde_json::Value::from(secret).to_string();
        for text in [
            secret,
            in_json.trim_matches('"'),
            serde_json::Value::from(in_json.as_str()).to_string().trim_matches('"'),
            r#"a\/b c\u002B\"\u00e9\ud83d\uDE42\\"#,
            "a%2Fb%20c%2B%22%C3%A9%F0%9F%99%82%5C",
            "a%2fb+c%2b%22%c3%a9%f0%9f%99%82%5c",
            "a%252fb+c%252b%22%c3%a9%f0%9f%99%82%5c",
            "%61/b c+\"é🙂\\",
        ] {
            let haystack = format!("x{text}y");
            let found = find(&haystack, secret, 0).unwrap_or_else(|| panic!("{text}"));
            assert!((1..=3).contains(&found.start), "{text}");
            assert!(found.end > text.trim_end_matches('\\').len(), "{text}");
        }
        for text in ["", "a/b", "a/b c+\"é🙂", "a%2", "a\\u00", "b/b c+\"é🙂\\"] {
            assert_eq!(find(text, secret, 0), None, "{text}");
        }
        let slashes = "\\".repeat(5_000);
        assert_eq!(find(&slashes, &format!("{}x", "\\".repeat(20)), 0), None);
    }
}
