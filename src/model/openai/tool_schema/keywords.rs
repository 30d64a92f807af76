//! The keywords of JSON Schema that are offered to models, and those that are offered as text instead, because some vendor
//! refuses them: Gemini refuses every keyword that its own schema type lacks, llama.cpp a pattern without anchors and
//! repetitions that its grammar cannot count.

use serde_json::Value;

/// How a keyword is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It has code of its own.
    Structure,
    /// As it is, if its value is a number up to this limit; as text otherwise.
    Number(u64, &'static str),
    /// As text, after this label. `true` is the label alone, `false` is omitted.
    Text(&'static str),
    /// As text that contains a schema.
    Schema(&'static str),
    /// As text that contains a schema for each name.
    Schemas(&'static str),
}

use Treatment::{Number, Schema, Schemas, Structure, Text};

/// The largest count that every vendor accepts.
const COUNT: u64 = 500;
const ANY: &[&str] = &[];
const ARRAY: &[&str] = &["array"];
const NUMBER: &[&str] = &["number", "integer"];
const OBJECT: &[&str] = &["object"];
const STRING: &[&str] = &["string"];

/// Each keyword, and the types that it applies to. Any other is omitted.
const KEYWORDS: &[(&str, &[&str], Treatment)] = &[
    ("properties", OBJECT, Structure),
    ("required", OBJECT, Structure),
    ("items", ARRAY, Structure),
    ("prefixItems", ARRAY, Structure),
    ("enum", ANY, Structure),
    ("const", ANY, Structure),
    ("$ref", ANY, Structure),
    ("allOf", ANY, Structure),
    ("anyOf", ANY, Structure),
    ("oneOf", ANY, Structure),
    ("minimum", NUMBER, Number(u64::MAX, "At least")),
    ("maximum", NUMBER, Number(u64::MAX, "At most")),
    ("exclusiveMinimum", NUMBER, Text("Greater than")),
    ("exclusiveMaximum", NUMBER, Text("Less than")),
    ("multipleOf", NUMBER, Text("Multiple of")),
    ("minLength", STRING, Number(COUNT, "Minimum length")),
    ("maxLength", STRING, Number(COUNT, "Maximum length")),
    ("pattern", STRING, Text("Pattern")),
    ("format", ANY, Structure),
    ("contentEncoding", STRING, Text("Encoding")),
    ("contentMediaType", STRING, Text("Media type")),
    ("minItems", ARRAY, Number(COUNT, "Minimum number of items")),
    ("maxItems", ARRAY, Number(COUNT, "Maximum number of items")),
    ("uniqueItems", ARRAY, Text("All items are different")),
    ("contains", ARRAY, Schema("Contains an item")),
    ("minContains", ARRAY, Text("Minimum number of such items")),
    ("maxContains", ARRAY, Text("Maximum number of such items")),
    ("minProperties", OBJECT, Text("Minimum number of fields")),
    ("maxProperties", OBJECT, Text("Maximum number of fields")),
    ("additionalProperties", OBJECT, Schema("Other fields")),
    ("patternProperties", OBJECT, Schemas("Fields whose name matches")),
    ("propertyNames", OBJECT, Schema("Names of fields")),
    ("dependentRequired", OBJECT, Text("Fields that require others")),
    ("dependentSchemas", OBJECT, Schemas("With these fields")),
    ("dependencies", OBJECT, Schemas("With these fields")),
    ("default", ANY, Text("Default")),
    ("examples", ANY, Text("Examples")),
    ("example", ANY, Text("Example")),
    ("not", ANY, Schema("Not")),
    ("if", ANY, Schema("If")),
    ("then", ANY, Schema("Then")),
    ("else", ANY, Schema("Else")),
    ("deprecated", ANY, Text("Deprecated")),
];

/// The treatment of a keyword; none if it is omitted.
pub(super) fn treatment(keyword: &str) -> Option<Treatment> {
    KEYWORDS.iter().find(|(name, ..)| *name == keyword).map(|(_, _, treatment)| *treatment)
}

/// Whether a keyword says something about values of a type.
pub(super) fn applies(keyword: &str, kind: &str) -> bool {
    KEYWORDS
        .iter()
        .find(|(name, ..)| *name == keyword)
        .is_none_or(|(_, types, _)| types.is_empty() || types.contains(&kind))
}

/// The type that the keywords of a schema without a type imply.
pub(super) fn implied_type<'a>(mut keywords: impl Iterator<Item = &'a String>) -> Option<&'static str> {
    keywords.find_map(|keyword| {
        KEYWORDS.iter().find(|(name, ..)| name == keyword).and_then(|(_, types, _)| types.first().copied())
    })
}

/// The type of a value.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
