//! Tools in the form that every vendor accepts. Schemas that are valid JSON Schema are still refused by some: OpenAI wants
//! `properties` and `items`, Gemini no lists of types and no `const`. A tool's arguments are checked against its own schema,
//! so what a model is offered may be less strict.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The longest name of a tool.
const MAX_NAME: usize = 64;
/// Deeper schemas are offered as "anything".
const MAX_DEPTH: usize = 24;
/// Further parts of a schema are offered as "anything": references that are resolved many times over multiply it.
const MAX_PARTS: usize = 2_000;

/// Keywords that some vendors refuse; without them a schema accepts more.
const REMOVED: [&str; 17] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$defs",
    "definitions",
    "if",
    "then",
    "else",
    "not",
    "contains",
    "dependentSchemas",
    "dependentRequired",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
];
const COMBINATIONS: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// The name under which a tool is offered: letters, digits, `_` and `-`, beginning with a letter or `_`. A name that has to
/// be changed gets a hash, so that two names stay different.
pub(super) fn name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.len() <= MAX_NAME && name.starts_with(begins) && name.chars().all(fits) {
        return name.to_owned();
    }
    let digest: [u8; 32] = Sha256::digest(name).into();
    let hash = format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    let mut offered: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if !offered.starts_with(begins) {
        offered.insert(0, '_');
    }
    offered.truncate(MAX_NAME - hash.len() - 1);
    format!("{offered}_{hash}")
}

/// The schema of a tool's arguments: always an object with `properties`.
pub(super) fn parameters(schema: &Value) -> Value {
    let offered = Normalizer { root: schema, open: Vec::new(), parts: 0 }.normalize(schema, 0);
    let Value::Object(mut object) = offered else { return json!({"type": "object", "properties": {}}) };
    // Vendors refuse alternatives of whole objects: their fields are offered together, none of them required.
    for key in COMBINATIONS {
        let Some(Value::Array(branches)) = object.remove(key) else { continue };
        for branch in branches {
            let Some(Value::Object(fields)) = branch.get("properties").cloned() else { continue };
            let properties = object.entry("properties").or_insert_with(|| json!({}));
            if let Value::Object(properties) = properties {
                for (name, field) in fields {
                    properties.entry(name).or_insert(field);
                }
            }
        }
    }
    object.remove("enum");
    object.insert("type".to_owned(), "object".into());
    object.entry("properties").or_insert_with(|| json!({}));
    Value::Object(object)
}

struct Normalizer<'a> {
    /// What references refer to.
    root: &'a Value,
    /// The references that are being resolved.
    open: Vec<String>,
    parts: usize,
}

impl Normalizer<'_> {
    fn normalize(&mut self, schema: &Value, depth: usize) -> Value {
        let Value::Object(schema) = schema else { return json!({}) };
        self.parts += 1;
        if depth > MAX_DEPTH || self.parts > MAX_PARTS {
            return json!({});
        }
        let mut offered = Map::new();
        for (key, value) in schema {
            let value = match (key.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    let resolved = self.resolve(reference, depth);
                    for (key, value) in resolved {
                        offered.entry(key).or_insert(value);
                    }
                    continue;
                }
                (key, _) if REMOVED.contains(&key) => continue,
                ("properties", Value::Object(properties)) => {
                    let properties = properties.iter();
                    properties.map(|(name, field)| (name.clone(), self.normalize(field, depth + 1))).collect()
                }
                // A tuple: its elements are offered as alternatives.
                ("items" | "prefixItems", Value::Array(items)) => {
                    let items: Vec<Value> =
                        items.iter().map(|item| self.normalize(item, depth + 1)).collect();
                    offered.insert("items".to_owned(), json!({ "anyOf": items }));
                    continue;
                }
                ("items", item) => {
                    let item = self.normalize(item, depth + 1);
                    offered.entry("items").or_insert(item);
                    continue;
                }
                ("additionalProperties", schema @ Value::Object(_)) => self.normalize(schema, depth + 1),
                ("anyOf" | "oneOf" | "allOf", Value::Array(branches)) => {
                    branches.iter().map(|branch| self.normalize(branch, depth + 1)).collect()
                }
                ("const", value) => {
                    offered.insert("enum".to_owned(), json!([value]));
                    continue;
                }
                (_, value) => value.clone(),
            };
            offered.insert(key.clone(), value);
        }
        single_type(&mut offered);
        complete(&mut offered);
        Value::Object(offered)
    }

    /// The schema that a reference within the document names; nothing for any other and for one within itself.
    fn resolve(&mut self, reference: &str, depth: usize) -> Map<String, Value> {
        let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(target) = target.filter(|_| !self.open.iter().any(|open| open == reference)) else {
            return Map::new();
        };
        self.open.push(reference.to_owned());
        let resolved = self.normalize(target, depth + 1);
        self.open.pop();
        if let Value::Object(resolved) = resolved { resolved } else { Map::new() }
    }
}

/// A list of types becomes one type, or alternatives. `null` is left out: a model omits the field instead.
fn single_type(schema: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = schema.get("type") else { return };
    let types: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
    schema.remove("type");
    match types.as_slice() {
        [] => {}
        [only] => {
            schema.insert("type".to_owned(), only.clone());
        }
        several => {
            let mut branches: Vec<Map<String, Value>> =
                several.iter().map(|kind| Map::from_iter([("type".to_owned(), kind.clone())])).collect();
            branches.iter_mut().for_each(complete);
            schema.entry("anyOf").or_insert_with(|| json!(branches));
        }
    }
}

/// Adds what objects and lists need, and removes required fields that are not declared.
fn complete(schema: &mut Map<String, Value>) {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            schema.entry("properties").or_insert_with(|| json!({}));
        }
        Some("array") => {
            schema.entry("items").or_insert_with(|| json!({}));
        }
        _ => {}
    }
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
        if required.is_empty() {
            schema.remove("required");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_offered_in_a_form_that_every_vendor_accepts() {
        let cases = [
            (json!({"type": "object"}), json!({"type": "object", "properties": {}})),
            (json!({}), json!({"type": "object", "properties": {}})),
            (json!(true), json!({"type": "object", "properties": {}})),
            (
                json!({
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "properties": {
                        "tags": {"type": "array"},
                        "options": {"type": "object"},
                        "kind": {"const": "a"},
                        "name": {"type": ["string", "null"]},
                        "size": {"type": ["string", "integer"]},
                        "pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
                    },
                    "required": ["tags", "missing"],
                }),
                json!({
                    "type": "object",
                    "properties": {
                        "tags": {"type": "array", "items": {}},
                        "options": {"type": "object", "properties": {}},
                        "kind": {"enum": ["a"]},
                        "name": {"type": "string"},
                        "size": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                        "pair": {
                            "type": "array",
                            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                        },
                    },
                    "required": ["tags"],
                }),
            ),
            (
                json!({
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/Node"}},
                    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
                }),
                json!({
                    "type": "object",
                    "properties": {"a": {"type": "object", "properties": {"next": {}}}},
                }),
            ),
            (
                json!({"oneOf": [
                    {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
                    {"type": "object", "properties": {"name": {"type": "string"}}},
                ]}),
                json!({
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
                }),
            ),
        ];
        for (schema, offered) in cases {
            assert_eq!(parameters(&schema), offered, "{schema}");
            assert_eq!(parameters(&offered), offered, "it is in that form already");
        }
    }

    #[test]
    fn references_that_multiply_are_bounded() {
        let level = |n: usize| json!({"anyOf": vec![json!({"$ref": format!("#/$defs/{n}")}); 8]});
        let definitions: Map<String, Value> = (0..20)
            .map(|n| (n.to_string(), if n == 19 { json!({"type": "string"}) } else { level(n + 1) }))
            .collect();
        let schema = json!({"properties": {"a": level(0)}, "$defs": definitions});

        assert!(parameters(&schema).to_string().len() < 100 * MAX_PARTS);
    }

    #[test]
    fn names_are_changed_only_where_a_vendor_refuses_them() {
        assert_eq!(name("find_orders-2"), "find_orders-2");
        let long = "x".repeat(100);
        let changed = ["crm.find/order", "crm_find_order!", "2fast", "größe", "", &long];
        let names: std::collections::HashSet<String> = changed.iter().map(|text| name(text)).collect();

        assert_eq!(names.len(), changed.len());
        for offered in names {
            assert!(offered.len() <= MAX_NAME, "{offered}");
            assert_eq!(name(&offered), offered);
        }
    }
}
