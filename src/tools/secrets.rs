//! The secrets of one call: opened for it, and kept out of what comes back.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::domain::seal::{SealKey, Sealed};
use crate::domain::template::in_url;

/// What is shown in a secret's place.
pub(super) const MASK: &str = "***";
/// A shorter text keeps no secret, and its like stands everywhere.
const SHORTEST: usize = 4;

/// What was opened for a call, and is masked in whatever comes of it.
pub struct Secrets<'k> {
    key: Option<&'k SealKey>,
    /// What must not be shown; a text comes before its parts.
    hidden: Vec<SecretString>,
}

impl<'k> Secrets<'k> {
    /// With the key that opens them.
    pub fn new(key: Option<&'k SealKey>) -> Self {
        Self { key, hidden: Vec::new() }
    }

    /// Opens a secret; from then on it is redacted. The fault is for the model: the cause is the
    /// operator's, and is logged.
    pub fn open(&mut self, sealed: &Sealed) -> Result<SecretString, &'static str> {
        let opened = self.key.and_then(|key| key.open(sealed).ok());
        let Some(secret) = opened else {
            tracing::error!("a tool's secret cannot be opened with this REJOINDER_SECRET_KEY");
            return Err("the server cannot open the secret that this tool needs");
        };
        self.hide(secret.expose_secret());
        Ok(secret)
    }

    /// Masks this text from now on. An endpoint that echoes `Bearer …` may leave the scheme out.
    pub fn hide(&mut self, secret: &str) {
        let secret = secret.trim();
        let credentials = secret.split_once(' ').map_or("", |(_scheme, rest)| rest.trim());
        for text in [secret, credentials] {
            if text.len() < SHORTEST {
                continue;
            }
            for spelling in spellings(text) {
                if spelling != text {
                    self.hidden.push(spelling.into());
                }
            }
            self.hidden.push(text.into());
        }
    }

    /// The text with each secret masked.
    pub fn redact_text(&self, mut text: String) -> String {
        for secret in &self.hidden {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), MASK);
            }
        }
        text
    }

    /// The same of every text in a value, its keys too.
    pub fn redact_value(&self, value: Value) -> Value {
        if self.hidden.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.redact_text(text)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.redact_value(item)).collect())
            }
            Value::Object(fields) => {
                let redact = |(key, value)| (self.redact_text(key), self.redact_value(value));
                Value::Object(fields.into_iter().map(redact).collect::<Map<_, _>>())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }
}

/// How a text stands in JSON, in a URL and in a form.
fn spellings(text: &str) -> [String; 4] {
    let quoted = Value::from(text).to_string();
    let in_json = quoted[1..quoted.len() - 1].to_owned();
    [in_json, in_url(text), utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(), in_form(text)]
}

fn in_form(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.hidden.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn knowing(secret: &str) -> Secrets<'static> {
        let mut secrets = Secrets::new(None);
        secrets.hide(secret);
        secrets
    }

    #[test]
    fn a_secret_is_hidden_whole_in_part_and_escaped() {
        let secrets = knowing("Bearer to\"ken");

        let text = secrets.redact_text(r#"Bearer to"ken, to"ken, {"a": "to\"ken"}"#.to_owned());
        let value = secrets.redact_value(json!({"to\"ken": ["x to\"ken", 5, null]}));

        assert_eq!(text, r#"***, ***, {"a": "***"}"#);
        assert_eq!(value, json!({"***": ["x ***", 5, null]}));
    }

    #[test]
    fn a_secret_is_hidden_as_it_stands_in_a_url_or_a_form() {
        let secrets = knowing("a/b c~d");

        let shown = secrets.redact_text("?k=a%2Fb%20c~d&f=a%2Fb+c%7Ed&g=a%2Fb%20c%7Ed".to_owned());

        assert_eq!(shown, "?k=***&f=***&g=***");
    }

    #[test]
    fn what_is_too_short_to_be_secret_stays() {
        assert_eq!(knowing("a 1").redact_text("a 1".to_owned()), "a 1");
    }
}
