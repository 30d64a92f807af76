//! Checks arguments against the JSON Schema of a tool and describes errors for the model.

#[cfg(test)]
mod work;

use std::collections::HashSet;
use std::fmt::Write as _;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::domain::schema_cost::{check_schema, declared_properties, is_within_budget};

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
    /// The arguments that are sent; `None` for all.
    declared: Option<DeclaredNames>,
}

/// The names of the arguments that a schema declares.
#[derive(Debug)]
struct DeclaredNames {
    names: HashSet<String>,
    /// Of names; `None` if the schema has no patterns.
    patterns: Option<Validator>,
}

impl ArgumentSchema {
    /// Compiles a schema of type `object`. Nothing is fetched: a `$ref` out of the schema is an error. Patterns match
    /// in linear time and the number of `$ref`s is limited, so that a schema cannot keep the server busy.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err("its `type` must be \"object\"".to_owned());
        }
        check_schema(schema)?;
        let validator = build_validator(schema)?;
        Ok(Self { validator, schema: schema.clone(), declared: DeclaredNames::of(schema)? })
    }

    /// The arguments to send: those that the schema declares, or all if it says `additionalProperties`. A model may be talked into
    /// sending others, which an endpoint may understand (`admin`). The error lists the mismatches with their locations.
    pub(super) fn prepare(&self, arguments: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        self.check(arguments)?;
        let mut declared = arguments.clone();
        if let Some(names) = &self.declared {
            declared.retain(|name, _| names.contains(name));
        }
        Ok(declared)
    }

    fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
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

impl DeclaredNames {
    /// `None` if the schema accepts others.
    fn of(schema: &Value) -> Result<Option<Self>, String> {
        let declared = declared_properties(schema);
        if declared.accepts_others {
            return Ok(None);
        }
        let names = declared.names.into_iter().map(str::to_owned).collect();
        let patterns: Vec<Value> =
            declared.patterns.into_iter().map(|pattern| json!({ "pattern": pattern })).collect();
        let patterns =
            if patterns.is_empty() { None } else { Some(build_validator(&json!({ "anyOf": patterns }))?) };
        Ok(Some(Self { names, patterns }))
    }

    fn contains(&self, name: &str) -> bool {
        let matches = |patterns: &Validator| patterns.is_valid(&Value::String(name.to_owned()));
        self.names.contains(name) || self.patterns.as_ref().is_some_and(matches)
    }
}

fn build_validator(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().offline().should_validate_formats(true);
    let options = options.with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN));
    options.build(schema).map_err(|error| describe(&error))
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

    fn prepared(schema: &Value, arguments: &Value) -> Value {
        let schema = ArgumentSchema::compile(schema).unwrap();
        Value::Object(schema.prepare(arguments.as_object().unwrap()).unwrap())
    }

    #[test]
    fn only_declared_arguments_are_sent_unless_the_schema_accepts_others() {
        let sent = json!({"id": "7", "note": "n", "x-tag": "t", "admin": true, "deep": {"admin": true}});
        let base =
            json!({"type": "object", "properties": {"id": {"type": "string"}, "deep": {"type": "object"}}});
        let with = |keyword: &str, value: Value| {
            let mut schema = base.clone();
            schema[keyword] = value;
            schema
        };
        let note = json!({"properties": {"note": {}}});
        let declared = json!({"id": "7", "deep": {"admin": true}});
        let with_note = json!({"id": "7", "note": "n", "deep": {"admin": true}});
        let with_tag = json!({"id": "7", "x-tag": "t", "deep": {"admin": true}});

        assert_eq!(prepared(&base, &sent), declared, "a nested object follows its own schema");
        assert_eq!(prepared(&with("required", json!(["note"])), &sent), with_note);
        assert_eq!(prepared(&with("allOf", json!([note])), &sent), with_note);
        assert_eq!(prepared(&with("patternProperties", json!({"^x-": {}})), &sent), with_tag);
        let mut with_reference = with("$defs", json!({"note": note}));
        with_reference["$ref"] = json!("#/$defs/note");
        assert_eq!(prepared(&with_reference, &sent), with_note);
        for (keyword, others) in [
            ("additionalProperties", json!(true)),
            ("additionalProperties", json!({})),
            ("unevaluatedProperties", json!(true)),
        ] {
            assert_eq!(prepared(&with(keyword, others), &sent), sent, "{keyword}");
        }
        assert_eq!(prepared(&json!({"type": "object"}), &sent), json!({}));
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
