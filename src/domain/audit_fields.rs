//! The fields of objects as the audit log shows them: with secrets redacted, and of bounded size.

use serde_json::{Map, Value};

/// Shown in place of a secret, and of a value that the log does not have.
pub const REDACTED: &str = "***";

/// The longest value of a field, in bytes of JSON.
const MAX_VALUE: usize = 4096;

/// The fields of a stored JSON object; none if it is no object. Sealed secrets are redacted at any depth, and long values cut.
#[must_use]
pub fn stored_fields(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => fields_of(fields),
        Ok(_) | Err(_) => Value::Object(Map::new()),
    }
}

/// Fields, with sealed secrets redacted at any depth, and long values cut.
#[must_use]
pub fn fields_of(fields: Map<String, Value>) -> Value {
    let bounded = |(name, value): (String, Value)| (name, bounded(redacted(value)));
    Value::Object(fields.into_iter().map(bounded).collect())
}

/// Names of fields that have changed, without their values.
#[must_use]
pub fn names_only<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Value {
    Value::Object(names.into_iter().map(|name| (name.into(), REDACTED.into())).collect())
}

fn redacted(value: Value) -> Value {
    match value {
        // The stored form of a secret.
        Value::Object(fields) if fields.contains_key("sealed") => REDACTED.into(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, redacted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(redacted).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

/// A value or, if it is long, the beginning of its JSON text and its length.
fn bounded(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= MAX_VALUE {
        return value;
    }
    let shown = &text[..text.floor_char_boundary(MAX_VALUE)];
    format!("{shown}… ({} bytes)", text.len()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_redacted_at_any_depth() {
        let stored = json!({"url": "https://a.example", "headers": [{"value": {"sealed": "v1.k.abc"}}]});

        let shown = stored_fields(&stored.to_string());

        assert_eq!(shown, json!({"url": "https://a.example", "headers": [{"value": "***"}]}));
        assert_eq!(stored_fields("[1]"), json!({}));
        assert_eq!(stored_fields("?"), json!({}));
    }

    #[test]
    fn long_values_are_cut() {
        let shown = stored_fields(&json!({"prompt": "ü".repeat(MAX_VALUE)}).to_string());

        let text = shown["prompt"].as_str().unwrap();
        assert!(text.len() < MAX_VALUE + 32 && text.ends_with("(8194 bytes)"), "{text}");
    }

    #[test]
    fn names_have_no_values() {
        assert_eq!(names_only(["email"]), json!({"email": "***"}));
    }
}
