//! Names in a request that have no effect, for the header `Rejoinder-Warning`.

use super::template::encode_url_value;

/// The most names in the header. Further ones are only counted.
const MAX_NAMES: usize = 8;
/// The longest name in bytes, before it is encoded. A longer one is cut.
const MAX_NAME: usize = 64;

/// The part of a request that a name is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// An unknown field of the body.
    Body,
    /// An unknown query parameter.
    Query,
    /// A header that the route does not support.
    Header,
    /// A variable whose value does not count.
    Variables,
}

impl NameSource {
    /// The word before the name, which has a full stop after it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Header => "header",
            Self::Variables => "variables",
        }
    }
}

/// The names, as few and as short as the header shows them, however many and long those of the request are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredNames {
    /// Each with its source, encoded.
    shown: Vec<String>,
    further: usize,
}

impl IgnoredNames {
    /// Names of one source.
    pub fn of<T: AsRef<str>>(source: NameSource, names: impl IntoIterator<Item = T>) -> Self {
        let mut ignored = Self::default();
        ignored.extend(source, names);
        ignored
    }

    pub fn extend<T: AsRef<str>>(&mut self, source: NameSource, names: impl IntoIterator<Item = T>) {
        for name in names {
            if self.shown.len() < MAX_NAMES {
                self.shown.push(format!("{}.{}", source.as_str(), encode_name(name.as_ref())));
            } else {
                self.further += 1;
            }
        }
    }

    /// The value of the header, such as `body.mesage, query.limt, variables.gr%C3%B6%C3%9Fe, +3`; `None` if there are no names.
    #[must_use]
    pub fn to_header(&self) -> Option<String> {
        if self.shown.is_empty() {
            return None;
        }
        let further = (self.further > 0).then(|| format!("+{}", self.further));
        let parts: Vec<&str> = self.shown.iter().map(String::as_str).chain(further.as_deref()).collect();
        Some(parts.join(", "))
    }
}

/// A name that a client chose, percent-encoded and cut, so that it is safe in a header, a list and a sentence.
#[must_use]
pub fn encode_name(name: &str) -> String {
    encode_url_value(&name[..name.floor_char_boundary(MAX_NAME)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Option<String> {
        IgnoredNames::of(NameSource::Body, names).to_header()
    }

    #[test]
    fn names_are_listed_as_the_header_can_hold_them() {
        assert_eq!(header::<&str>([]), None);
        assert_eq!(header(["plan", "a-b_c.d~1"]).as_deref(), Some("body.plan, body.a-b_c.d~1"));
        let odd = header(["größe\r\nSet-Cookie: a=b", "+1", "a, b", "%", ""]);
        let encoded =
            "body.gr%C3%B6%C3%9Fe%0D%0ASet-Cookie%3A%20a%3Db, body.%2B1, body.a%2C%20b, body.%25, body.";
        assert_eq!(odd.as_deref(), Some(encoded));
    }

    #[test]
    fn the_header_has_eight_names_of_64_bytes_and_counts_the_others() {
        let names = |count: usize| (0..count).map(|number| format!("v{number}"));
        let eight = "body.v0, body.v1, body.v2, body.v3, body.v4, body.v5, body.v6, body.v7";

        assert_eq!(header(names(8)).as_deref(), Some(eight));
        assert_eq!(header(names(9)), Some(format!("{eight}, +1")));
        assert_eq!(header([&"x".repeat(64)]), Some(format!("body.{}", "x".repeat(64))));
        assert_eq!(header([&"x".repeat(65)]), Some(format!("body.{}", "x".repeat(64))));
        // 66 bytes: no character is cut.
        assert_eq!(header(["語".repeat(22)]), Some(format!("body.{}", "%E8%AA%9E".repeat(21))));
        let longest = header(std::iter::repeat_n("\u{7f}".repeat(1_000), 1_000)).unwrap();
        assert_eq!(longest.len(), 8 * ("body.".len() + 64 * 3) + 8 * 2 + "+992".len());
    }

    #[test]
    fn names_of_several_sources_are_told_apart_and_share_the_bound() {
        let mut ignored = IgnoredNames::of(NameSource::Body, ["query.a"; 7]);

        ignored.extend(NameSource::Query, ["a"]);
        ignored.extend(NameSource::Variables, ["a", "b"]);

        let seven = ["body.query.a"; 7].join(", ");
        assert_eq!(ignored.to_header(), Some(format!("{seven}, query.a, +2")));
    }
}
