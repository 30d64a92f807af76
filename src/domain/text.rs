//! Values that are written as text.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a text and parses it. A value of another type is answered with what is `expected`: for a reader of the error,
/// "a string" is no description of an amount.
pub(super) fn deserialize_text<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);

    impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E2: Error>(self, text: &str) -> Result<T, E2> {
            (self.1)(text).map_err(E2::custom)
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}
