//! Checks arguments against the JSON Schema of a tool and describes errors for the model.

#[cfg(test)]
mod work;

use std::fmt::Write as _;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::domain::schema_cost::{check_schema, is_within_budget};

/// Limits of reported errors: their number, and the length of each in characters.
const MAX_ERRORS: usize = 5;
const MAX_ERROR_CHARS: usize = 300;
/// The size limit of a compiled pattern, in bytes.
const MAX_PATTERN: usize = 1024 * 1024;

/// A tool's schema, compiled.
#[derive(Debug)]
pub(super) struct ArgumentSchema {
    validator: Validator,
    schema: Value,
}

impl ArgumentSchema {
    /// Compiles a schema of type `object`. Nothing is fetched: a `$ref` out of the schema is an error. Patterns match
    /// in linear time and the number of `$ref`s is limited, so that a schema cannot keep the server busy.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err("its `type` must be \"object\"".to_owned());
        }
        check_schema(schema)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN))
            .build(schema)
            .map_err(|error| describe(&error))?;
        Ok(Self { validator, schema: schema.clone() })
    }

    /// The error lists the mismatches with their locations.
    pub(super) fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
        let arguments = Value::Object(arguments.clone());
        if !is_within_budget(&self.schema, &arguments) {
            return Err(
                "The arguments are nested too deeply to be validated against the tool's schema.".to_owned()
            );
        }
        let mut errors = self.validator.iter_errors(&arguments);
        let Some(first) = errors.next() else { return Ok(()) };
        let mut message = format!("The arguments do not fit the tool's schema: {}", describe(&first));
        for error in errors.by_ref().take(MAX_ERRORS - 1) {
            // Writing to a `String` cannot fail.
            let _ = write!(message, "; {}", describe(&error));
        }
        if errors.next().is_some() {
            message.push_str("; and more");
        }
        Err(message)
    }
}

/// `/order/0: 5 is not of type "string"`, without a path for the whole value.
fn describe(error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let message = if path.is_empty() { error.to_string() } else { format!("{path}: {error}") };
    match message.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_error(schema: &Value, arguments: &Value) -> String {
        ArgumentSchema::compile(schema).unwrap().check(arguments.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn each_error_names_its_location() {
        let schema = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string", "pattern": "^[A-Z]+$"},
                "when": {"type": "string", "format": "date"},
                "lines": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["id"],
            "additionalProperties": false,
        });

        let none = check_error(&schema, &json!({}));
        assert_eq!(none, "The arguments do not fit the tool's schema: \"id\" is a required property");
        let many = check_error(&schema, &json!({"id": "a1", "when": "soon", "lines": [1, "2"], "why": 1}));
        for message in [
            r#"/id: "a1" does not match"#,
            r#"/when: "soon" is not a "date""#,
            r#"/lines/1: "2" is not of type "integer""#,
            "('why' was unexpected)",
        ] {
            assert!(many.contains(message), "{many}");
        }
        let good = json!({"id": "AB", "when": "2026-11-30", "lines": []});
        let schema = ArgumentSchema::compile(&schema).unwrap();
        assert_eq!(schema.check(good.as_object().unwrap()), Ok(()));
    }

    #[test]
    fn an_error_message_is_bounded() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let long = "é".repeat(100_000);
        let arguments: Map<_, _> = (0..100).map(|n| (n.to_string(), json!(long))).collect();

        let message = check_error(&schema, &Value::Object(arguments));

        assert!(message.chars().count() < 2000 && message.ends_with("; and more"), "{message}");
    }

    #[test]
    fn unusable_schemas_are_refused() {
        let with_remote_ref =
            json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/s.json"}}});
        let with_backreference =
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a)\\1"}}});
        for schema in [
            json!({"type": "string"}),
            json!(true),
            json!({"type": "object", "required": 5}),
            with_remote_ref,
            with_backreference,
        ] {
            assert!(ArgumentSchema::compile(&schema).is_err(), "{schema}");
        }
    }
}
