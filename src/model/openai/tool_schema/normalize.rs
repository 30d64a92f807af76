//! Schemas in the form that every vendor accepts. Those that are valid JSON Schema are still refused by some: OpenAI wants
//! `properties` and `items`; Gemini a type for every part, no lists of types, and only texts in an `enum`. A rule that some
//! vendor refuses becomes a part of the description. The arguments of a call are checked against the tool's own schema, so
//! the schema that a model is offered may be less strict.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::keywords::{Treatment, applies, implied_type, treatment, type_of};

/// Deeper parts of a schema are offered as "anything".
const MAX_DEPTH: usize = 24;
/// Further parts of a schema are offered as "anything": references that are resolved many times over multiply it.
const MAX_PARTS: usize = 2_000;
/// The longest text for one rule, in bytes.
const MAX_NOTE: usize = 300;
/// No more rules are added to a description that is longer than this, in bytes.
const MAX_DESCRIPTION: usize = 2_000;

const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "object", "array"];
/// The one format that every vendor accepts.
const FORMAT: &str = "date-time";
const MAY_BE_NULL: &str = "May be null.";

type Part = Map<String, Value>;

/// The schema of an object.
pub(super) fn object(schema: &Value) -> Part {
    let mut normalizer = Normalizer { root: schema, open: Vec::new(), parts: 0 };
    let Value::Object(keywords) = schema else { return of_type("object") };
    let mut part = Part::new();
    part.insert("type".to_owned(), "object".into());
    normalizer.add_all(&mut part, keywords, 0);
    finish(&mut part, keywords);
    part
}

struct Normalizer<'a> {
    /// What references refer to.
    root: &'a Value,
    /// The references that are being resolved.
    open: Vec<String>,
    parts: usize,
}

impl Normalizer<'_> {
    fn normalize(&mut self, schema: &Value, depth: usize) -> Part {
        self.parts += 1;
        let Value::Object(keywords) = schema else { return anything() };
        if depth > MAX_DEPTH || self.parts > MAX_PARTS {
            return anything();
        }
        let mut part = Part::new();
        let types = types(keywords);
        if let [only] = types.as_slice() {
            part.insert("type".to_owned(), (*only).into());
        }
        self.add_all(&mut part, keywords, depth);
        if types.len() > 1 && !part.contains_key("type") && !part.contains_key("anyOf") {
            separate(&mut part, &types);
        }
        finish(&mut part, keywords);
        part
    }

    /// Adds the keywords of a schema to a part, which has its type already.
    fn add_all(&mut self, part: &mut Part, keywords: &Part, depth: usize) {
        let description = keywords.get("description").or_else(|| keywords.get("title"));
        if let Some(text @ Value::String(_)) = description {
            part.insert("description".to_owned(), text.clone());
        }
        if keywords.get("type").and_then(Value::as_array).is_some_and(|types| types.iter().any(is_null_name))
            || keywords.get("nullable") == Some(&Value::Bool(true))
        {
            note(part, MAY_BE_NULL);
        }
        for (keyword, value) in keywords {
            match treatment(keyword) {
                None => {}
                Some(Treatment::Structure) => self.add_structure(part, keyword, value, depth),
                Some(Treatment::Number(limit, _))
                    if value.is_number() && value.as_u64().is_none_or(|number| number <= limit) =>
                {
                    part.insert(keyword.clone(), value.clone());
                }
                Some(Treatment::Text(label) | Treatment::Number(_, label)) => add_rule(part, label, value),
                Some(Treatment::Schema(_)) if value.as_object().is_none_or(Map::is_empty) => {}
                Some(Treatment::Schema(label)) => {
                    let schema = self.normalize(value, depth + 1);
                    add_rule(part, label, &Value::Object(schema));
                }
                Some(Treatment::Schemas(label)) => {
                    let schemas = value.as_object().into_iter().flatten();
                    let schemas: Part = schemas
                        .map(|(name, schema)| (name.clone(), self.normalize(schema, depth + 1).into()))
                        .collect();
                    add_rule(part, label, &Value::Object(schemas));
                }
            }
        }
        // They add to the rest.
        if let Some(Value::String(reference)) = keywords.get("$ref") {
            let resolved = self.resolve(reference, depth);
            absorb(part, resolved);
        }
        for branch in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            let branch = self.normalize(branch, depth + 1);
            absorb(part, branch);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = keywords.get(keyword) {
                self.add_alternatives(part, branches, depth);
            }
        }
    }

    fn add_structure(&mut self, part: &mut Part, keyword: &str, value: &Value, depth: usize) {
        match (keyword, value) {
            ("properties", Value::Object(fields)) => {
                let allowed = fields.iter().filter(|(_, field)| **field != Value::Bool(false));
                let fields: Part = allowed
                    .map(|(name, field)| (name.clone(), self.normalize(field, depth + 1).into()))
                    .collect();
                part.insert(keyword.to_owned(), fields.into());
            }
            ("required", Value::Array(_)) => {
                part.insert(keyword.to_owned(), value.clone());
            }
            // A tuple.
            ("items" | "prefixItems", Value::Array(items)) => {
                let item = self.alternatives(items, depth);
                let positions = items.iter().map(|item| self.normalize(item, depth + 1).into()).collect();
                add_rule(part, "Items by position", &Value::Array(positions));
                part.insert("items".to_owned(), union(item).into());
            }
            ("items", item) => {
                let item = self.normalize(item, depth + 1);
                part.entry("items").or_insert(item.into());
            }
            ("enum", Value::Array(values)) => add_values(part, values),
            ("const", value) => add_values(part, std::slice::from_ref(value)),
            ("format", Value::String(format)) if format == FORMAT => {
                part.insert(keyword.to_owned(), FORMAT.into());
            }
            ("format", format) => add_rule(part, "Format", format),
            _ => {}
        }
    }

    /// The schema that a reference within the document names; only its type for one within itself, and nothing for any other.
    fn resolve(&mut self, reference: &str, depth: usize) -> Part {
        let pointer =
            reference.strip_prefix('#').and_then(|rest| percent_decode_str(rest).decode_utf8().ok());
        let Some(target) = pointer.and_then(|pointer| self.root.pointer(&pointer)) else {
            return Part::new();
        };
        if self.open.iter().any(|open| open == reference) {
            let kind = target.as_object().map(types).unwrap_or_default();
            let mut part = of_type(kind.first().copied().unwrap_or("object"));
            note(&mut part, "The same form again.");
            return part;
        }
        self.open.push(reference.to_owned());
        let resolved = self.normalize(target, depth + 1);
        self.open.pop();
        resolved
    }

    /// The branches without `null`, each of them once.
    fn alternatives(&mut self, branches: &[Value], depth: usize) -> Vec<Part> {
        let mut alternatives: Vec<Part> = Vec::new();
        for branch in branches.iter().filter(|branch| !is_null(branch)) {
            let mut part = self.normalize(branch, depth + 1);
            let parts = match part.remove("anyOf") {
                Some(Value::Array(nested)) => {
                    nested.into_iter().filter_map(|nested| nested.as_object().cloned()).collect()
                }
                _ => vec![part],
            };
            for part in parts {
                if !alternatives.contains(&part) {
                    alternatives.push(part);
                }
            }
        }
        alternatives
    }

    fn add_alternatives(&mut self, part: &mut Part, branches: &[Value], depth: usize) {
        if branches.iter().any(is_null) {
            note(part, MAY_BE_NULL);
        }
        let alternatives = self.alternatives(branches, depth);
        let has_own_form = ["type", "properties", "items", "enum", "anyOf"]
            .iter()
            .any(|keyword| part.contains_key(*keyword));
        let is_object = part.get("type").is_some_and(|kind| kind == "object");
        if is_object && branches.iter().filter(|branch| !is_null(branch)).count() > 1 {
            add_fields(part, alternatives, branches);
        } else if alternatives.len() < 2 {
            for only in alternatives {
                absorb(part, only);
            }
        } else if !has_own_form {
            absorb(part, union(alternatives));
        } else {
            let texts = alternatives.iter().filter_map(|branch| branch.get("description")?.as_str());
            let texts: Vec<&str> = texts.collect();
            if !texts.is_empty() {
                add_rule(part, "One of", &texts.join(" / ").into());
            }
        }
    }
}

/// Adds the fields of alternatives of an object, which vendors refuse. Only those are required that all of them require.
fn add_fields(part: &mut Part, alternatives: Vec<Part>, branches: &[Value]) {
    let required = |branch: &Part| -> Vec<Value> {
        branch.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let first = alternatives.first().map(required).unwrap_or_default();
    let by_all =
        first.into_iter().filter(|name| alternatives.iter().all(|branch| required(branch).contains(name)));
    let by_all: Vec<Value> = by_all.collect();
    for mut alternative in alternatives {
        alternative.retain(|keyword, _| keyword == "properties");
        absorb(part, alternative);
    }
    absorb(part, Part::from_iter([("required".to_owned(), by_all.into())]));
    let groups = branches.iter().filter_map(|branch| branch.get("required")?.as_array());
    let groups: Vec<String> = groups
        .map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        .filter(|names| !names.is_empty())
        .collect();
    if !groups.is_empty() {
        add_rule(part, "Required fields", &groups.join(" / ").into());
    }
}

fn union(mut alternatives: Vec<Part>) -> Part {
    match alternatives.len() {
        0 => anything(),
        1 => alternatives.remove(0),
        _ => Part::from_iter([("anyOf".to_owned(), alternatives.into())]),
    }
}

/// A part that accepts any value. Vendors refuse one without a type.
fn anything() -> Part {
    union(["string", "number", "boolean", "object"].map(of_type).into())
}

fn of_type(kind: &str) -> Part {
    let mut part = Part::from_iter([("type".to_owned(), kind.into())]);
    complete(&mut part);
    part
}

/// The types that a schema names, without `null`.
fn types(keywords: &Part) -> Vec<&'static str> {
    let named = match keywords.get("type") {
        Some(Value::Array(types)) => types.as_slice(),
        Some(kind) => std::slice::from_ref(kind),
        None => &[],
    };
    let is_number = named.iter().any(|kind| kind == "number");
    let named = named.iter().filter_map(|kind| TYPES.into_iter().find(|known| kind == known));
    named.filter(|kind| !(is_number && *kind == "integer")).collect()
}

fn is_null_name(kind: &Value) -> bool {
    kind == "null"
}

/// Whether a schema accepts `null` only.
fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(is_null_name)
        || schema.get("const").is_some_and(Value::is_null)
        || schema.get("enum").is_some_and(|values| *values == json!([null]))
}

/// Makes an alternative of each type, with the keywords that apply to it.
fn separate(part: &mut Part, types: &[&'static str]) {
    let description = part.remove("description");
    let branches = types.iter().map(|kind| {
        let own = part.iter().filter(|(keyword, _)| applies(keyword, kind));
        let mut branch: Part = own.map(|(keyword, value)| (keyword.clone(), value.clone())).collect();
        branch.insert("type".to_owned(), (*kind).into());
        complete(&mut branch);
        branch
    });
    let branches: Vec<Part> = branches.collect();
    *part = union(branches);
    part.extend(description.map(|text| ("description".to_owned(), text)));
}

/// Adds the values that are allowed: as an `enum` if they are texts, as text otherwise.
fn add_values(part: &mut Part, values: &[Value]) {
    let allowed: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    if allowed.len() < values.len() {
        note(part, MAY_BE_NULL);
    }
    let Some(first) = allowed.first() else { return };
    let kind = type_of(first);
    let is_text = allowed.iter().all(|value| value.as_str().is_some_and(|text| !text.is_empty()));
    if !part.contains_key("type") && allowed.iter().all(|value| type_of(value) == kind) {
        part.insert("type".to_owned(), kind.into());
    }
    if is_text && part.get("type").is_some_and(|kind| kind == "string") {
        part.insert("enum".to_owned(), json!(allowed));
    } else {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        add_rule(part, "One of", &allowed.join(", ").into());
    }
}

/// Adds a rule to the description.
fn add_rule(part: &mut Part, label: &str, value: &Value) {
    let text = match value {
        Value::Bool(false) | Value::Null => return,
        Value::Bool(true) => format!("{label}."),
        Value::Object(fields) if fields.is_empty() => return,
        Value::String(text) => format!("{label}: {}.", bounded(text)),
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            format!("{label}: {}.", bounded(&other.to_string()))
        }
    };
    note(part, &text);
}

fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_NOTE);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// Adds a sentence to the description, once.
fn note(part: &mut Part, sentence: &str) {
    let description = part.entry("description").or_insert_with(|| "".into());
    let Value::String(text) = description else { return };
    if text.contains(sentence) || text.len() > MAX_DESCRIPTION {
        return;
    }
    if !text.is_empty() {
        text.push_str(if text.ends_with(['.', '!', '?', ':']) { " " } else { ". " });
    }
    text.push_str(sentence);
}

/// Adds another part that applies to the same value. Its fields are added; other keywords do not replace those of `part`.
fn absorb(part: &mut Part, other: Part) {
    for (keyword, value) in other {
        match (part.get_mut(&keyword), value) {
            (Some(Value::Object(fields)), Value::Object(more)) => {
                more.into_iter().for_each(|(name, field)| {
                    fields.entry(name).or_insert(field);
                });
            }
            (Some(Value::Array(names)), Value::Array(more)) if keyword == "required" => {
                for name in more {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            (Some(Value::String(_)), Value::String(text)) if keyword == "description" => note(part, &text),
            (Some(_), _) => {}
            (None, value) => {
                part.insert(keyword, value);
            }
        }
    }
}

/// Gives a part its type, and removes keywords of other types. Vendors accept nothing beside `anyOf`.
fn finish(part: &mut Part, keywords: &Part) {
    if !part.contains_key("type") && !part.contains_key("anyOf") {
        match implied_type(keywords.keys().chain(part.keys())) {
            Some(kind) => {
                part.insert("type".to_owned(), kind.into());
            }
            None => absorb(part, anything()),
        }
    }
    let Some(Value::String(kind)) = part.get("type").cloned() else {
        let Some(Value::Array(mut branches)) = part.remove("anyOf") else { return };
        let description = part.remove("description");
        if let (Some(Value::Object(first)), Some(text)) = (branches.first_mut(), description) {
            let own = first.insert("description".to_owned(), text);
            if let Some(Value::String(own)) = own {
                note(first, &own);
            }
        }
        part.clear();
        part.insert("anyOf".to_owned(), branches.into());
        return;
    };
    part.retain(|keyword, _| keyword != "anyOf" && applies(keyword, &kind));
    if kind != "string" {
        part.remove("enum");
    }
    complete(part);
}

/// Adds what objects and lists need, and removes required fields that are not declared.
fn complete(part: &mut Part) {
    match part.get("type").and_then(Value::as_str) {
        Some("object") => {
            part.entry("properties").or_insert_with(|| json!({}));
        }
        Some("array") => {
            part.entry("items").or_insert_with(|| anything().into());
        }
        _ => {}
    }
    let declared = part.get("properties").and_then(Value::as_object);
    let declared: Vec<String> = declared.map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
    if let Some(Value::Array(required)) = part.get_mut("required") {
        required.retain(|name| name.as_str().is_some_and(|name| declared.iter().any(|known| known == name)));
        if required.is_empty() {
            part.remove("required");
        }
    }
}
