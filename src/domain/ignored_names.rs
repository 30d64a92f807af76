//! Names in a request that have no effect, for the header `Rejoinder-Warning`.

use super::template::encode_url_value;

/// The most names in the header. Further ones are only counted.
const MAX_NAMES: usize = 8;
/// The longest name in bytes, before it is encoded. A longer one is cut.
const MAX_NAME: usize = 64;

/// The names, as few and as short as the header shows them, however many and long those of the request are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredNames {
    /// Encoded.
    shown: Vec<String>,
    further: usize,
}

impl IgnoredNames {
    /// The value of the header, such as `variables.plan, variables.gr%C3%B6%C3%9Fe, +3`; `None` if there are no names.
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

impl<T: AsRef<str>> Extend<T> for IgnoredNames {
    fn extend<I: IntoIterator<Item = T>>(&mut self, names: I) {
        for name in names {
            if self.shown.len() < MAX_NAMES {
                self.shown.push(encode_name(name.as_ref()));
            } else {
                self.further += 1;
            }
        }
    }
}

impl<T: AsRef<str>> FromIterator<T> for IgnoredNames {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut ignored = Self::default();
        ignored.extend(names);
        ignored
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
        names.into_iter().collect::<IgnoredNames>().to_header()
    }

    #[test]
    fn names_are_listed_as_the_header_can_hold_them() {
        assert_eq!(header::<&str>([]), None);
        assert_eq!(header(["plan", "a-b_c.d~1"]).as_deref(), Some("plan, a-b_c.d~1"));
        let odd = header(["größe\r\nSet-Cookie: a=b", "+1", "a, b", "%"]);
        let encoded = "gr%C3%B6%C3%9Fe%0D%0ASet-Cookie%3A%20a%3Db, %2B1, a%2C%20b, %25";
        assert_eq!(odd.as_deref(), Some(encoded));
    }

    #[test]
    fn the_header_has_eight_names_of_64_bytes_and_counts_the_others() {
        let names = |count: usize| (0..count).map(|number| format!("v{number}"));

        assert_eq!(header(names(8)).as_deref(), Some("v0, v1, v2, v3, v4, v5, v6, v7"));
        assert_eq!(header(names(9)).as_deref(), Some("v0, v1, v2, v3, v4, v5, v6, v7, +1"));
        assert_eq!(header([&"x".repeat(64)]), Some("x".repeat(64)));
        assert_eq!(header([&"x".repeat(65)]), Some("x".repeat(64)));
        // 66 bytes: no character is cut.
        assert_eq!(header(["語".repeat(22)]), Some("%E8%AA%9E".repeat(21)));
        let longest = header(std::iter::repeat_n("\u{7f}".repeat(1_000), 1_000)).unwrap();
        assert_eq!(longest.len(), 8 * 64 * 3 + 8 * 2 + "+992".len());
    }

    #[test]
    fn names_of_several_sources_share_the_bound() {
        let mut ignored: IgnoredNames = ["a"; 7].into_iter().collect();

        ignored.extend(["b", "c", "d"]);

        assert_eq!(ignored.to_header().as_deref(), Some("a, a, a, a, a, a, a, b, +2"));
    }
}
