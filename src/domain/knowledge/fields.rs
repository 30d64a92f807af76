//! The rules for a document's fields, from a workspace file or the API.

use url::Url;

use crate::domain::ids::{CalendarId, DocumentId, KnowledgeBaseId};

/// Maximum length of a slug, in characters.
pub(super) const MAX_SLUG_LENGTH: usize = 64;
/// The longest name of a knowledge base, in characters.
pub const MAX_NAME_LENGTH: usize = 200;
/// The longest title, in characters.
pub const MAX_TITLE_LENGTH: usize = 255;
/// The longest URL, in characters: as it is written, and once it is normalized.
pub const MAX_URL_LENGTH: usize = 2048;

/// Whether this is a valid slug of a document, a knowledge base or a calendar. Texts in the form of their ids are not valid, because
/// requests may accept either.
#[must_use]
pub fn is_slug(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=MAX_SLUG_LENGTH).contains(&text.len())
        && text.bytes().all(fits)
        && text.parse::<DocumentId>().is_err()
        && text.parse::<KnowledgeBaseId>().is_err()
        && text.parse::<CalendarId>().is_err()
}

/// The error of a document's title, if any. Blank titles are not checked here.
#[must_use]
pub fn title_error(title: &str) -> Option<&'static str> {
    if title.chars().count() > MAX_TITLE_LENGTH {
        Some("must not be greater than 255 characters")
    } else if title.contains('\0') {
        Some("contains an invalid character")
    } else {
        None
    }
}

/// The normalized URL of a document, or `None` if it is not accepted. Only http and https are, because a model passes
/// the URL on to people.
#[must_use]
pub fn web_url(text: &str) -> Option<String> {
    if text.chars().count() > MAX_URL_LENGTH {
        return None;
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    // Percent encoding makes a URL longer; what is stored must be accepted again.
    url.map(String::from).filter(|url| url.len() <= MAX_URL_LENGTH)
}

/// The requirement of [`web_url`], for error texts.
pub const URL_REQUIREMENT: &str =
    "must be an http or https URL of at most 2048 characters, also when it is percent-encoded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalized_and_must_be_http_or_https() {
        for (text, expected) in [
            ("https://shop.example/r", Some("https://shop.example/r")),
            (" HTTPS://Shop.Example\n", Some("https://shop.example/")),
            ("https://shop.example/a\0 b", Some("https://shop.example/a%00%20b")),
            ("javascript:alert(1)", None),
            ("java\nscript:alert(1)", None),
            ("data:text/html,x", None),
            ("/returns", None),
        ] {
            assert_eq!(web_url(text).as_deref(), expected, "{text:?}");
        }
        let url = |text: &str, count: usize| format!("https://shop.example/{}", text.repeat(count));
        assert!(web_url(&url("a", 2048 - 21)).is_some());
        assert_eq!(web_url(&url("a", 2049 - 21)), None);
        let encoded = web_url(&url("ä", 337)).unwrap();
        assert_eq!(web_url(&encoded), Some(encoded.clone()), "what is stored is accepted again");
        assert_eq!(web_url(&url("ä", 338)), None, "the limit applies to the normalized URL, too");
        let padded = format!("{}{}", " ".repeat(2048), url("a", 1));
        assert_eq!(web_url(&padded), None, "and to the URL as it is written");
    }

    #[test]
    fn titles_are_measured_in_characters() {
        assert_eq!(title_error(&"ä".repeat(255)), None);
        assert!(title_error(&"ä".repeat(256)).is_some());
        assert!(title_error("a\0").is_some());
    }

    #[test]
    fn ids_and_invalid_characters_are_not_slugs() {
        assert!(is_slug("returns-2_b"));
        for text in [
            "",
            "A",
            "a b",
            "\0",
            "ä",
            "doc_01k9z3x8f5e4r9t2m6q7w8y0ab",
            "cal_01k9z3x8f5e4r9t2m6q7w8y0ab",
            &"a".repeat(65),
        ] {
            assert!(!is_slug(text), "{text:?}");
        }
    }
}
