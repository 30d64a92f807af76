//! A secret as a request gives it.

use std::fmt;

use secrecy::SecretString;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Secret;

/// The value of a secret. It is written, and never read.
#[derive(Clone, Debug)]
pub struct GivenSecret(pub SecretString);

/// The error of a secret that is written as in a workspace file.
const FROM_FILE: &str = "`env` is for workspace files; send the value of the secret";

impl<'de> Deserialize<'de> for GivenSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = GivenSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, the value of the secret")
            }

            fn visit_str<E>(self, text: &str) -> Result<GivenSecret, E> {
                Ok(GivenSecret(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenSecret, A::Error> {
                match map.next_key::<String>()? {
                    Some(key) if key == "env" => Err(A::Error::custom(FROM_FILE)),
                    Some(_) | None => {
                        Err(A::Error::custom("the value of the secret is expected, as a string"))
                    }
                }
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Secret<'de> for GivenSecret {
    const HEADER: &'static str = "a text, or {\"secret\": \"VALUE\"}";

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let secret = match map.next_key::<String>()? {
            Some(key) if key == "secret" => map.next_value()?,
            Some(key) if key == "env" => return Err(A::Error::custom(FROM_FILE)),
            Some(_) | None => return Err(A::Error::custom(format_args!("expected {}", Self::HEADER))),
        };
        match map.next_key::<String>()? {
            None => Ok(secret),
            Some(_) => Err(A::Error::custom(format_args!("expected {}", Self::HEADER))),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::tool::{HeaderText, Headers};

    #[test]
    fn a_secret_is_a_string_and_no_variable() {
        let read = |value: Value| serde_json::from_value::<GivenSecret>(value);

        assert_eq!(read(json!("t0ken")).unwrap().0.expose_secret(), "t0ken");
        assert_eq!(read(json!({ "env": "TOKEN" })).unwrap_err().to_string(), FROM_FILE);
        for value in [json!({ "secret": "t0ken" }), json!({}), json!(5), json!(["a"])] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn a_header_is_a_text_or_an_object_with_a_secret() {
        let read = |value: Value| serde_json::from_value::<Headers<GivenSecret>>(json!({ "x": value }));

        let plain = read(json!("for {id}")).unwrap();
        assert!(matches!(&plain["x"], HeaderText::Plain(text) if text == "for {id}"));
        let secret = read(json!({ "secret": "t0ken" })).unwrap();
        assert_eq!(secret["x"].secret().unwrap().0.expose_secret(), "t0ken");
        assert_eq!(read(json!({ "env": "TOKEN" })).unwrap_err().to_string(), FROM_FILE);
        for value in
            [json!({}), json!({ "secret": "t0ken", "env": "X" }), json!({ "secret": { "secret": "x" } })]
        {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
