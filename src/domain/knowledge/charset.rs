//! The character encodings of documents, by the labels of the WHATWG Encoding Standard.

use std::fmt;
use std::str::FromStr;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252, X_USER_DEFINED};

/// How much of an unknown label an error names, in characters.
const MAX_LABEL: usize = 40;

/// A character encoding that maps to Unicode text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// A label that the standard does not know, or that stands for an encoding browsers refuse to decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the unknown charset '{0}'")]
pub struct UnknownCharset(String);

impl Charset {
    pub const UTF_8: Self = Self(UTF_8);

    /// The encoding whose byte order mark a file begins with.
    #[must_use]
    pub fn from_byte_order_mark(file: &[u8]) -> Option<Self> {
        Encoding::for_bom(file).map(|(encoding, _)| Self(encoding))
    }

    /// The charset of a `Content-Type`.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Result<Self, UnknownCharset>> {
        parameter(content_type, "charset").map(|label| label.parse())
    }

    /// The encoding of an XML declaration (`<?xml version="1.0" encoding="…"?>`).
    #[must_use]
    pub fn from_xml_declaration(declaration: &str) -> Option<Result<Self, UnknownCharset>> {
        parameter(declaration, "encoding").map(|label| label.parse())
    }

    /// The encoding of a page that names this one in its own text, which therefore is readable as ASCII.
    #[must_use]
    pub fn declared_in_page(self) -> Self {
        if self.0 == X_USER_DEFINED { Self(WINDOWS_1252) } else { Self(self.0.output_encoding()) }
    }

    #[must_use]
    pub fn encoding(self) -> &'static Encoding {
        self.0
    }
}

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(label: &str) -> Result<Self, UnknownCharset> {
        Encoding::for_label_no_replacement(label.as_bytes()).map(Self).ok_or_else(|| {
            UnknownCharset(label.chars().take(MAX_LABEL).flat_map(char::escape_debug).collect())
        })
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The value of a parameter, in lower case, by the HTML Standard's "extracting a character encoding from a meta element".
fn parameter(text: &str, name: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let rest_of = |(at, name): (usize, &str)| text[at + name.len()..].trim_ascii_start().strip_prefix('=');
    let value = text.match_indices(name).find_map(rest_of)?.trim_ascii_start();
    let label = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split_once(quote)?.0,
        _ => value.split(|c: char| c.is_ascii_whitespace() || c == ';').next()?,
    };
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_names_its_charset() {
        let unknown = |label: &str| Some(Err(UnknownCharset(label.to_owned())));
        for (content_type, expected) in [
            ("text/html", None),
            ("text/html; charset=", None),
            ("text/html; charset=utf-8", Some(Ok("UTF-8"))),
            ("text/plain;CHARSET=Latin1;format=flowed", Some(Ok("windows-1252"))),
            ("text/plain; charset = \"iso-8859-1\"; x=y", Some(Ok("windows-1252"))),
            ("text/plain; format=flowed; charset=us-ascii", Some(Ok("windows-1252"))),
            ("text/html; charset=shift_jis", Some(Ok("Shift_JIS"))),
            ("text/html; charset=gb2312", Some(Ok("GBK"))),
            ("text/html; charset=ks_c_5601-1987", Some(Ok("EUC-KR"))),
            ("text/html; charset=koi8-r", Some(Ok("KOI8-R"))),
            ("text/html; charset=utf-16", Some(Ok("UTF-16LE"))),
            ("text/html; charset=klingon", unknown("klingon")),
            ("text/html; charset=utf-7", unknown("utf-7")),
            ("text/html; charset=iso-2022-kr", unknown("iso-2022-kr")),
        ] {
            let charset = Charset::from_content_type(content_type);
            let charset = charset.map(|charset| charset.map(|charset| charset.encoding().name()));
            assert_eq!(charset, expected, "{content_type}");
        }
        let long = "\n".repeat(100).parse::<Charset>().unwrap_err();
        assert_eq!(long.to_string(), format!("the unknown charset '{}'", "\\n".repeat(MAX_LABEL)));
    }
}
