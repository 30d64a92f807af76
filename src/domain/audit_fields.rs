//! The fields of objects as the audit log shows them: with secrets redacted, and of bounded size.

use serde_json::{Map, Value};

/// Shown in place of a secret, and of a value that the log does not have.
pub const REDACTED: &str = "***";

/// The maps of tools whose values are in no entry. They are not secret by design, but people put credentials into them.
const HIDDEN: [&str; 2] = ["headers", "static"];

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

/// Fields, with sealed secrets and the values of `headers` and `static` redacted at any depth, and long values cut.
#[must_use]
pub fn fields_of(fields: Map<String, Value>) -> Value {
    let shown = |field: (String, Value)| {
        let (name, value) = redacted_field(field);
        (name, bounded(value))
    };
    Value::Object(fields.into_iter().map(shown).collect())
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
        Value::Object(fields) => Value::Object(fields.into_iter().map(redacted_field).collect()),
        Value::Array(values) => Value::Array(values.into_iter().map(redacted).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn redacted_field((name, value): (String, Value)) -> (String, Value) {
    let value = match value {
        Value::Object(entries) if HIDDEN.contains(&name.as_str()) => {
            names_only(entries.into_iter().map(|(entry, _)| entry))
        }
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => redacted(other),
    };
    (name, value)
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
    fn the_headers_and_fixed_fields_of_tools_are_redacted() {
        let webhook = json!({"headers": {"X-Token": "t0ken"}, "static": {"key": ["t0ken"]}, "timeout": "5s"});

        let shown = stored_fields(
            &json!({"config": {"webhook": webhook}, "headers": {"X-Token": "t0ken"}}).to_string(),
        );

        let webhook = json!({"headers": {"X-Token": "***"}, "static": {"key": "***"}, "timeout": "5s"});
        assert_eq!(shown, json!({"config": {"webhook": webhook}, "headers": {"X-Token": "***"}}));
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
