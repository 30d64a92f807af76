//! The secrets of one call: decrypted for it, and masked in its results.

mod encodings;

use std::cmp::Reverse;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use crate::domain::ids::WorkspaceId;
use crate::domain::seal::{SealKeys, SealedSecret, SecretContext, SecretField};

/// The replacement of a secret.
pub(super) const MASK: &str = "***";
/// Minimum length of a secret in bytes. Shorter texts are too common to be masked.
pub const MIN_SECRET_BYTES: usize = 4;

/// The tool whose secrets are decrypted, and the keys for them.
#[derive(Clone, Copy, Debug)]
pub struct ToolSecrets<'k> {
    pub keys: &'k SealKeys,
    pub workspace: WorkspaceId,
    /// The tool's slug.
    pub tool: &'k str,
}

/// The decrypted secrets of a call.
pub struct Secrets<'k> {
    stored: Option<ToolSecrets<'k>>,
    /// The texts to mask, longest first, because one may contain another.
    hidden: Vec<SecretString>,
}

impl<'k> Secrets<'k> {
    /// `None` if the server has no key, or nothing is to be decrypted.
    pub fn new(stored: Option<ToolSecrets<'k>>) -> Self {
        Self { stored, hidden: Vec::new() }
    }

    /// Decrypts a secret and masks it from then on. The error is for the model; the cause concerns the operator and is
    /// logged.
    pub fn open(
        &mut self,
        field: SecretField<'_>,
        sealed: &SealedSecret,
    ) -> Result<SecretString, &'static str> {
        const UNUSABLE: &str = "the server cannot open the secret that this tool needs";
        let Some(ToolSecrets { keys, workspace, tool }) = self.stored else {
            tracing::error!("a tool has a secret, and REJOINDER_SECRET_KEY is not set");
            return Err(UNUSABLE);
        };
        let secret = keys.open(&SecretContext::of_tool(workspace, tool, field), sealed).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(workspace.id = %workspace, tool.slug = tool, error, "a tool's secret cannot be opened");
            UNUSABLE
        })?;
        self.hide(secret.expose_secret());
        Ok(secret)
    }

    /// Masks this text from now on. An endpoint that echoes `Bearer …` may omit the scheme, and one that gets `Basic
    /// …` knows the user and the password.
    pub fn hide(&mut self, secret: &str) {
        let secret = secret.trim();
        let (scheme, credentials) = secret.split_once(' ').unwrap_or_default();
        let credentials = credentials.trim();
        self.add(secret);
        self.add(credentials);
        if scheme.eq_ignore_ascii_case("basic")
            && let Some(decoded) = STANDARD.decode(credentials).ok().and_then(|it| String::from_utf8(it).ok())
        {
            self.add(&decoded);
            self.add(decoded.split_once(':').unwrap_or_default().1);
        }
        self.hidden.sort_by_key(|text| Reverse(text.expose_secret().len()));
    }

    fn add(&mut self, text: &str) {
        if text.len() >= MIN_SECRET_BYTES {
            self.hidden.push(text.into());
        }
    }

    /// Masks each secret in a text, in any encoding.
    pub fn redact_text(&self, mut text: String) -> String {
        for secret in &self.hidden {
            let (mut masked, mut from) = (String::new(), 0);
            while let Some(found) = encodings::find(&text, secret.expose_secret(), from) {
                masked.push_str(text.get(from..found.start).unwrap_or_default());
                masked.push_str(MASK);
                from = found.end;
            }
            if from > 0 {
                masked.push_str(text.get(from..).unwrap_or_default());
                text = masked;
            }
        }
        text
    }

    /// Masks each secret in all strings, keys and numbers of a value.
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
            Value::Number(number) => {
                let text = number.to_string();
                let redacted = self.redact_text(text.clone());
                if redacted == text { Value::Number(number) } else { Value::String(redacted) }
            }
            other @ (Value::Null | Value::Bool(_)) => other,
        }
    }
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

    fn secrets_with(secret: &str) -> Secrets<'static> {
        let mut secrets = Secrets::new(None);
        secrets.hide(secret);
        secrets
    }

    #[test]
    fn a_secret_is_masked_with_and_without_its_scheme_and_when_escaped() {
        let secrets = secrets_with("Bearer to\"ken");

        let text = secrets.redact_text(r#"Bearer to"ken, to"ken, {"a": "to\"ken"}"#.to_owned());
        let value = secrets.redact_value(json!({"to\"ken": ["x to\"ken", 5, null]}));

        assert_eq!(text, r#"***, ***, {"a": "***"}"#);
        assert_eq!(value, json!({"***": ["x ***", 5, null]}));
    }

    #[test]
    fn a_secret_is_masked_in_url_and_form_encoding() {
        let secrets = secrets_with("a/b c~d");

        let redacted = secrets.redact_text("?k=a%2Fb%20c~d&f=a%2Fb+c%7Ed&g=a%2Fb%20c%7Ed".to_owned());

        assert_eq!(redacted, "?k=***&f=***&g=***");
    }

    #[test]
    fn a_secret_that_contains_another_is_masked_completely() {
        for order in [["canary", "canary-and-more"], ["canary-and-more", "canary"]] {
            let mut secrets = Secrets::new(None);
            for secret in order {
                secrets.hide(secret);
            }

            let redacted = secrets.redact_text("canary-and-more, canary".to_owned());

            assert_eq!(redacted, "***, ***");
        }
    }

    #[test]
    fn a_secret_is_masked_as_a_number_and_in_other_escapes() {
        let secrets = secrets_with("12345678");
        assert_eq!(
            secrets.redact_value(json!({"n": 12_345_678, "m": 1_234, "d": 12_345_678.5})),
            json!({"n": "***", "m": 1_234, "d": "***.5"})
        );
        let redacted = secrets_with("a/b+c").redact_text(r"a\/b+c a/b\u002Bc a\u002fb%2bc".to_owned());
        assert_eq!(redacted, "*** *** ***");
    }

    #[test]
    fn credentials_of_basic_authentication_are_masked() {
        // `user:canary`
        let secrets = secrets_with("Basic dXNlcjpjYW5hcnk=");

        let redacted = secrets.redact_text("dXNlcjpjYW5hcnk= user:canary canary user".to_owned());

        assert_eq!(redacted, "*** *** *** user");
    }

    #[test]
    fn short_texts_are_not_masked() {
        assert_eq!(secrets_with("a 1").redact_text("a 1".to_owned()), "a 1");
    }
}
