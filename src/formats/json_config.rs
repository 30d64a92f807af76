//! Configuration in requests: JSON objects with the fields of the tables of a workspace file. An error names the field.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::domain::invalid_field::InvalidField;
use crate::domain::tool::{GivenSecret, GivenSpec, TOOL_KINDS, ToolConfig, unsupported_key};

/// The configuration of a tool in a request: calendars and knowledge bases by slug or id, secrets by value. Its host is not yet
/// checked.
pub type GivenToolConfig = ToolConfig<String, String, GivenSecret>;

/// The fields of a tool beside those of its kind.
pub const TOOL_FIELDS: [&str; 6] = ["slug", "kind", "name", "description", "parameters", "label"];

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A required field is absent. The path of the field.
    #[error("Field '{0}' is required.")]
    Missing(String),
    #[error("Unknown field '{field}'. Known fields: {}.", quote(known))]
    Unknown {
        /// The path of the field.
        field: String,
        known: Vec<String>,
    },
    #[error("Field '{}': {}.", .0.field, .0.problem)]
    Invalid(#[from] InvalidField),
}

fn quote(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// Reads the fields of `T`.
pub fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, ReadError> {
    read_value(Value::Object(fields))
}

/// Refuses a field that has none of these names.
pub fn check_names<'n>(
    fields: impl IntoIterator<Item = &'n String>,
    known: &[&str],
) -> Result<(), ReadError> {
    match fields.into_iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            Err(ReadError::Unknown { field: name.clone(), known })
        }
    }
}

/// Reads the fields of a tool of this kind, without its slug and its kind.
pub fn read_tool(
    kind: &str,
    mut fields: Map<String, Value>,
) -> Result<(GivenSpec, GivenToolConfig), ReadError> {
    if !TOOL_KINDS.contains(&kind) {
        let problem = format_args!("\"{kind}\" is none of: {}", TOOL_KINDS.join(", "));
        return Err(InvalidField::new("kind", problem).into());
    }
    let given = GivenSpec {
        name: take(&mut fields, "name")?,
        description: take(&mut fields, "description")?,
        parameters: fields.remove("parameters"),
        label: take(&mut fields, "label")?,
    };
    check_tool_names(kind, &fields)?;
    Ok((given, read_value(variant(kind, fields))?))
}

/// Refuses a field that tools of this kind do not have.
pub fn check_tool_names(kind: &str, fields: &Map<String, Value>) -> Result<(), ReadError> {
    let own = fields.keys().filter(|name| !TOOL_FIELDS.contains(&name.as_str()));
    for name in own {
        let Err(known) = knows(kind, name) else { continue };
        if TOOL_KINDS.iter().any(|other| knows(other, name).is_ok()) {
            return Err(unsupported_key(name, kind).into());
        }
        let known = TOOL_FIELDS.iter().map(|name| (*name).to_owned()).chain(known).collect();
        return Err(ReadError::Unknown { field: name.clone(), known });
    }
    Ok(())
}

/// Whether tools of this kind have a field; if not, the fields that they have. Serde refuses an unknown one before it reads its value.
fn knows(kind: &str, name: &str) -> Result<(), Vec<String>> {
    let only = Map::from_iter([(name.to_owned(), Value::Null)]);
    match read_value::<GivenToolConfig>(variant(kind, only)) {
        Err(ReadError::Unknown { field, known }) if field == name => Err(known),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A tool's own fields, as an object with its kind.
fn variant(kind: &str, fields: Map<String, Value>) -> Value {
    Value::Object(Map::from_iter([(kind.to_owned(), Value::Object(fields))]))
}

fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Result<Option<T>, ReadError> {
    let Some(value) = fields.remove(name) else { return Ok(None) };
    let read = T::deserialize(value).map(Some);
    read.map_err(|error| InvalidField::new(name, error).into())
}

fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path = format!("{path}[{index}]"),
                Segment::Map { key } => path = join(&path, key),
                // The kind of a tool is a variant, and no field.
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        read_error(path, &error.inner().to_string())
    })
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The error of serde with this text.
fn read_error(path: String, text: &str) -> ReadError {
    let names = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if let Some(name) = text.strip_prefix("missing field `") {
        return ReadError::Missing(join(&path, name.trim_end_matches('`')));
    }
    match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected ")) {
        Some((_, known)) => ReadError::Unknown { field: path, known: names(known) },
        None => InvalidField::new(path, without_rust_types(text)).into(),
    }
}

/// Replaces the words that serde has for the types of Rust by those of JSON.
fn without_rust_types(text: &str) -> String {
    let text = text.replace("invalid type: map", "invalid type: object");
    let text = text.replace("invalid type: sequence", "invalid type: array");
    match text.rsplit_once(", expected ") {
        Some((found, "a map")) => format!("{found}, expected an object"),
        Some((found, "a sequence")) => format!("{found}, expected an array"),
        Some((found, "usize" | "u64" | "u32")) => format!("{found}, expected a whole number"),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::assistant::AssistantVersion;

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { return Map::new() };
        fields
    }

    fn assistant(value: Value) -> String {
        read::<AssistantVersion<String>>(fields(value)).unwrap_err().to_string()
    }

    fn tool(kind: &str, value: Value) -> String {
        read_tool(kind, fields(value)).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_field() {
        let base = json!({ "slug": "a", "name": "A", "system_prompt": "x" });
        let with = |name: &str, value: Value| {
            let mut fields = base.clone();
            fields[name] = value;
            fields
        };

        assert!(read::<AssistantVersion<String>>(fields(base.clone())).is_ok());
        assert_eq!(assistant(json!({ "slug": "a", "name": "A" })), "Field 'system_prompt' is required.");
        let unknown = assistant(with("promt", json!("x")));
        assert!(unknown.starts_with("Unknown field 'promt'. Known fields: 'slug', 'name', "), "{unknown}");
        assert_eq!(
            assistant(with("fallbacks", json!([{ "connection": "a", "model": "b" }, { "connection": "c" }]))),
            "Field 'fallbacks[1].model' is required."
        );
        assert_eq!(
            assistant(with("fallbacks", json!([{ "connection": "a", "model": "b", "x": 1 }]))),
            "Unknown field 'fallbacks[0].x'. Known fields: 'connection', 'model'."
        );
        assert_eq!(
            assistant(with("tools", json!(["a", 5]))),
            "Field 'tools[1]': invalid type: integer `5`, expected a string."
        );
        assert_eq!(
            assistant(with("variables", json!([]))),
            "Field 'variables': invalid type: array, expected an object."
        );
    }

    #[test]
    fn a_tool_has_the_fields_of_its_kind() {
        let (given, config) =
            read_tool("webhook", fields(json!({ "name": "n", "url": "https://a.example/" }))).unwrap();
        assert_eq!((given.name.as_deref(), config.url()), (Some("n"), Some("https://a.example/")));

        assert_eq!(
            tool("hook", json!({})),
            format!("Field 'kind': \"hook\" is none of: {}.", TOOL_KINDS.join(", "))
        );
        assert_eq!(tool("webhook", json!({})), "Field 'url' is required.");
        assert_eq!(
            tool("webhook", json!({ "name": 5 })),
            "Field 'name': invalid type: integer `5`, expected a string."
        );
        assert_eq!(
            tool("mcp", json!({ "url": "https://a.example/", "method": "GET" })),
            "Field 'method': a tool of kind \"mcp\" does not have it."
        );
        assert_eq!(
            tool("knowledge", json!({ "knowledge_base": "help", "x": 1 })),
            "Unknown field 'x'. Known fields: 'slug', 'kind', 'name', 'description', 'parameters', 'label', 'knowledge_base'."
        );
        assert_eq!(
            tool("webhook", json!({ "url": "https://a.example/", "secret": { "env": "TOKEN" } })),
            "Field 'secret': `env` is for workspace files; send the value of the secret."
        );
        assert_eq!(
            tool(
                "webhook",
                json!({ "url": "https://a.example/", "headers": { "x-key": { "env": "TOKEN" } } })
            ),
            "Field 'headers.x-key': `env` is for workspace files; send the value of the secret."
        );
    }
}
