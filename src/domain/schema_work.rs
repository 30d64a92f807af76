//! How much work a schema can make, reckoned before it is done. The validator follows a `$ref` anew
//! wherever it stands, so a schema of some kilobytes could ask for more visits than there is time:
//! `a0` that wants `a1` twice, that wants `a2` twice, and so on.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// How many schemas one value may be held to, with all `$ref`s followed.
const MAX_AT_ONCE: usize = 10_000;
/// How many visits the arguments of one call may make.
const MAX_VISITS: usize = 100_000;
/// How many schemas may stand in each other, with all `$ref`s followed once.
const MAX_NESTED: usize = 200;

/// To what of a value a part of a schema applies.
enum Place<'s> {
    Same,
    Property(&'s str),
    /// But not to those that are named here.
    Properties(Option<&'s Map<String, Value>>),
    Names,
    Items,
}

type Parts<'s> = Vec<(Place<'s>, &'s Value)>;

/// Whether a schema can be compiled and used at all. `Err`: what is wrong with it.
pub fn check_schema(root: &Value) -> Result<(), String> {
    let mut measuring = Measuring { root, known: HashMap::new(), path: Vec::new() };
    measuring.measure(root, false).map(drop)
}

/// Whether these arguments can be held to a schema that [`check_schema`] has let through.
pub fn is_affordable(root: &Value, arguments: &Value) -> bool {
    let mut left = MAX_VISITS;
    visit(root, root, arguments, 0, &mut left).is_some()
}

fn visit(root: &Value, schema: &Value, value: &Value, depth: usize, left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    if depth > 2 * MAX_NESTED {
        return None;
    }
    let times = times(schema);
    for (place, part) in parts(root, schema).ok()? {
        let mut each = |value: &Value| (0..times).try_for_each(|_| visit(root, part, value, depth + 1, left));
        match (place, value) {
            (Place::Same, value) => each(value)?,
            (Place::Property(name), Value::Object(fields)) => fields.get(name).map_or(Some(()), each)?,
            (Place::Properties(but), Value::Object(fields)) => fields
                .iter()
                .filter(|(name, _)| !but.is_some_and(|but| but.contains_key(*name)))
                .try_for_each(|(_, value)| each(value))?,
            (Place::Names, Value::Object(fields)) => fields.iter().try_for_each(|_| each(&Value::Null))?,
            (Place::Items, Value::Array(items)) => items.iter().try_for_each(each)?,
            (Place::Property(_) | Place::Properties(_) | Place::Names | Place::Items, _) => {}
        }
    }
    Some(())
}

/// What is known of a schema: how many stand in it, and how many hold one value.
#[derive(Clone, Copy, Default)]
struct Measure {
    height: usize,
    at_once: usize,
}

struct Measuring<'s> {
    root: &'s Value,
    /// By address.
    known: HashMap<*const Value, Measure>,
    /// What is being measured, from the root down, and whether it holds the same value as the one above.
    path: Vec<(*const Value, bool)>,
}

impl<'s> Measuring<'s> {
    fn measure(&mut self, schema: &'s Value, is_same: bool) -> Result<Measure, String> {
        let address = std::ptr::from_ref(schema);
        if let Some(above) = self.path.iter().position(|(other, _)| *other == address) {
            let between = self.path.iter().skip(above + 1).all(|(_, is_same)| *is_same);
            // One that comes again further down in the value ends with the value.
            return if between && is_same { Err(endless()) } else { Ok(Measure::default()) };
        }
        if let Some(known) = self.known.get(&address) {
            if self.path.len() + known.height > MAX_NESTED {
                return Err(nested());
            }
            return Ok(*known);
        }
        if self.path.len() >= MAX_NESTED {
            return Err(nested());
        }
        if !self.path.is_empty() && schema.get("$id").is_some() {
            return Err("only the whole schema may have an `$id`".to_owned());
        }
        self.path.push((address, is_same));
        let mut measure = Measure { height: 1, at_once: 1 };
        for (place, part) in parts(self.root, schema)? {
            let is_same = matches!(place, Place::Same);
            let of_part = self.measure(part, is_same)?;
            measure.height = measure.height.max(of_part.height + 1);
            if is_same {
                let more = of_part.at_once.saturating_mul(times(schema));
                measure.at_once = measure.at_once.saturating_add(more);
            }
        }
        self.path.pop();
        if measure.at_once > MAX_AT_ONCE {
            return Err(format!(
                "with its `$ref`s followed, a value would be held to more than {MAX_AT_ONCE} schemas"
            ));
        }
        self.known.insert(address, measure);
        Ok(measure)
    }
}

fn endless() -> String {
    "a `$ref` leads back to itself without an end".to_owned()
}

fn nested() -> String {
    format!("with its `$ref`s followed, it is nested deeper than {MAX_NESTED} schemas")
}

/// To tell what the rest of a schema has seen, the validator goes through it once more.
fn times(schema: &Value) -> usize {
    let looks_again =
        ["unevaluatedProperties", "unevaluatedItems"].iter().any(|key| schema.get(key).is_some());
    if looks_again { 2 } else { 1 }
}

/// The schemas that stand in one, of all drafts; a `$ref`'s is the one that it names.
fn parts<'s>(root: &'s Value, schema: &'s Value) -> Result<Parts<'s>, String> {
    let mut parts = Vec::new();
    let Value::Object(keywords) = schema else { return Ok(parts) };
    let named = keywords.get("properties").and_then(Value::as_object);
    for (keyword, part) in keywords {
        match keyword.as_str() {
            "$ref" => parts.push((Place::Same, target(root, part)?)),
            "$dynamicRef" | "$recursiveRef" => return Err(format!("`{keyword}` is not supported")),
            "not" | "if" | "then" | "else" => parts.push((Place::Same, part)),
            "allOf" | "anyOf" | "oneOf" => parts.extend(items(part).map(|part| (Place::Same, part))),
            "dependentSchemas" | "dependencies" => {
                parts.extend(fields(part).map(|(_, part)| (Place::Same, part)));
            }
            "properties" => parts.extend(fields(part).map(|(name, part)| (Place::Property(name), part))),
            "patternProperties" => {
                parts.extend(fields(part).map(|(_, part)| (Place::Properties(None), part)));
            }
            "additionalProperties" => parts.push((Place::Properties(named), part)),
            "unevaluatedProperties" => parts.push((Place::Properties(None), part)),
            "propertyNames" => parts.push((Place::Names, part)),
            "items" | "prefixItems" if part.is_array() => {
                parts.extend(items(part).map(|part| (Place::Items, part)));
            }
            "items" | "additionalItems" | "unevaluatedItems" | "contains" => parts.push((Place::Items, part)),
            _ => {}
        }
    }
    Ok(parts)
}

fn items(part: &Value) -> impl Iterator<Item = &Value> {
    part.as_array().into_iter().flatten()
}

fn fields(part: &Value) -> impl Iterator<Item = (&str, &Value)> {
    part.as_object().into_iter().flatten().map(|(name, part)| (name.as_str(), part))
}

fn target<'s>(root: &'s Value, reference: &Value) -> Result<&'s Value, String> {
    let text = reference.as_str().unwrap_or_default();
    let pointer = text.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let pointer = pointer.and_then(|rest| percent_decode_str(rest).decode_utf8().ok());
    let found = pointer.and_then(|pointer| root.pointer(&pointer));
    found.ok_or_else(|| "a `$ref` must be `#`, or `#/…` and name a place in this schema".to_owned())
}
