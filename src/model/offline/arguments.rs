//! Fills the arguments of a tool from a message by its schema: `key=value` first, then the words after the name of
//! the tool in order.

use serde_json::{Map, Value};

/// `text` is the whole message, `rest` the part after the name of the tool.
pub(super) fn fill(schema: &Value, text: &str, rest: &str) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let is_word = |word: &&str| {
        !word.is_empty() && !word.contains('=') && !STOP_WORDS.contains(&word.to_lowercase().as_str())
    };
    let mut words = rest.split_whitespace().map(trim).filter(is_word).peekable();

    let mut filled = Map::new();
    for (name, property) in properties.into_iter().flatten() {
        let is_required = required.contains(&name.as_str());
        let kind = property.get("type").and_then(Value::as_str).unwrap_or("string");
        let value = named_value(text, name).and_then(|word| convert(word, kind)).or_else(|| {
            if !is_required {
                return None;
            }
            words.find_map(|word| convert(word, kind))
        });
        if let Some(value) = value {
            filled.insert(name.clone(), value);
        }
    }
    filled
}

const STOP_WORDS: [&str; 8] = ["for", "of", "with", "the", "is", "to", "a", "please"];

/// The value in `name=value` or `name: value`.
fn named_value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if let Some((key, value)) = word.split_once(['=', ':'])
            && trim(key).eq_ignore_ascii_case(name)
        {
            return if value.is_empty() { words.next().map(trim) } else { Some(trim(value)) };
        }
    }
    None
}

fn trim(word: &str) -> &str {
    word.trim_matches(|c: char| !(c.is_alphanumeric() || "-_@/#+".contains(c)))
}

fn convert(word: &str, kind: &str) -> Option<Value> {
    match kind {
        "string" => Some(Value::String(word.to_owned())),
        "integer" => word.parse::<i64>().ok().map(Value::from),
        "number" | "boolean" => {
            let value: Value = serde_json::from_str(word).ok()?;
            (value.is_boolean() == (kind == "boolean") && !value.is_array()).then_some(value)
        }
        _ => None,
    }
}
