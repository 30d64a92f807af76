//! JSON values read one by one from their raw text, so that an error names its field.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::Violation;
use crate::domain::json_number::whole;

/// The reason that a body has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum BodyError {
    NotJson,
    NotAnObject,
}

/// The deepest nesting of free JSON: as deep as `serde_json` reads, because stored JSON is read with it again.
pub(in crate::http) const MAX_DEPTH: usize = 127;

/// The tokens of valid JSON: brackets, strings and other values as they were sent, without commas and colons. Whatever the nesting is, each
/// byte is read once.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        const SEPARATORS: [char; 6] = [',', ':', ' ', '\t', '\r', '\n'];
        let rest = self.0.trim_start_matches(SEPARATORS);
        let length = match rest.bytes().next()? {
            b'{' | b'}' | b'[' | b']' => 1,
            b'"' => string_length(rest),
            _ => rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

/// The length of the string at the beginning of the JSON, with its quotes.
fn string_length(json: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: u8| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    };
    json.bytes().skip(1).position(is_end).map_or(json.len(), |at| at + 2)
}

impl<'a> Tokens<'a> {
    /// The next token within an array or an object; none at its end.
    fn next_within(&mut self) -> Option<&'a str> {
        self.next().filter(|token| !matches!(*token, "}" | "]"))
    }
}

/// The name of the first field that an object in the body has twice, at any depth. None if the body cannot be read.
pub(super) fn find_duplicate(body: &[u8]) -> Option<String> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let mut tokens = Tokens(raw.get());
    match search_duplicate(tokens.next()?, &mut tokens, MAX_DEPTH) {
        ControlFlow::Break(found) => found,
        ControlFlow::Continue(()) => None,
    }
}

/// Breaks at a name that an object has twice; with none if the value cannot be read.
fn search_duplicate(token: &str, tokens: &mut Tokens<'_>, levels: usize) -> ControlFlow<Option<String>> {
    if !matches!(token, "{" | "[") {
        return ControlFlow::Continue(());
    }
    let Some(inner) = levels.checked_sub(1) else { return ControlFlow::Break(None) };
    // Names without escapes are borrowed, so that the set needs only a few times the memory of the body.
    let mut names = BTreeSet::new();
    while let Some(mut item) = tokens.next_within() {
        if token == "{" {
            let Some(name) = field_name(item) else { return ControlFlow::Break(None) };
            if names.contains(&name) {
                return ControlFlow::Break(Some(name.into_owned()));
            }
            names.insert(name);
            let Some(value) = tokens.next() else { return ControlFlow::Break(None) };
            item = value;
        }
        search_duplicate(item, tokens, inner)?;
    }
    ControlFlow::Continue(())
}

fn field_name(token: &str) -> Option<Cow<'_, str>> {
    match token.strip_prefix('"')?.strip_suffix('"')? {
        name if name.contains('\\') => serde_json::from_str(token).ok().map(Cow::Owned),
        name => Some(Cow::Borrowed(name)),
    }
}

/// The fields of a body that is a JSON object; of two with one name the last counts.
pub(super) fn read_fields(body: &[u8]) -> Result<BTreeMap<String, &RawValue>, BodyError> {
    serde_json::from_slice(body).map_err(|_| body_error(body))
}

/// A body that is a JSON object, checked to its full depth.
pub(super) fn read_object(body: &[u8]) -> Result<Result<Map<String, Value>, Violation>, BodyError> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| BodyError::NotJson)?;
    if raw.get().starts_with('{') { Ok(object(raw)) } else { Err(BodyError::NotAnObject) }
}

fn body_error(body: &[u8]) -> BodyError {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) if !value.get().starts_with('{') => BodyError::NotAnObject,
        Ok(_) | Err(_) => BodyError::NotJson,
    }
}

/// A string.
pub(super) fn string(field: &RawValue) -> Result<String, Violation> {
    if field.get().starts_with('"') { text(field.get()) } else { Err(Violation::Type("a string")) }
}

/// The string of a token, with a character that a database rejects as the only possible violation.
fn text(token: &str) -> Result<String, Violation> {
    let text: String = serde_json::from_str(token).map_err(|_| Violation::Character)?;
    if text.contains('\0') { Err(Violation::Character) } else { Ok(text) }
}

/// A JSON object.
pub(super) fn object(field: &RawValue) -> Result<Map<String, Value>, Violation> {
    let mut tokens = Tokens(field.get());
    if tokens.next() == Some("{") {
        entries(&mut tokens, MAX_DEPTH)
    } else {
        Err(Violation::Type("an object"))
    }
}

/// The entries of an object whose bracket was read, and which may be nested `levels` deep, itself included.
fn entries(tokens: &mut Tokens<'_>, levels: usize) -> Result<Map<String, Value>, Violation> {
    let inner = levels.checked_sub(1).ok_or(Violation::Depth)?;
    let mut entries = Map::new();
    while let Some(name) = tokens.next_within() {
        let name = text(name)?;
        entries.insert(name, value(tokens.next().unwrap_or_default(), tokens, inner)?);
    }
    Ok(entries)
}

fn items(tokens: &mut Tokens<'_>, levels: usize) -> Result<Vec<Value>, Violation> {
    let inner = levels.checked_sub(1).ok_or(Violation::Depth)?;
    let mut items = Vec::new();
    while let Some(item) = tokens.next_within() {
        items.push(value(item, tokens, inner)?);
    }
    Ok(items)
}

fn value(token: &str, tokens: &mut Tokens<'_>, levels: usize) -> Result<Value, Violation> {
    match token.as_bytes() {
        [b'{', ..] => entries(tokens, levels).map(Value::Object),
        [b'[', ..] => items(tokens, levels).map(Value::Array),
        [b'"', ..] => text(token).map(Value::String),
        // Booleans and null always parse, so the only possible failure is a number.
        _ => serde_json::from_str(token).map_err(|_| Violation::Number),
    }
}

/// A list of strings.
pub(in crate::http) fn strings(field: &RawValue) -> Result<Vec<String>, Violation> {
    let items: Vec<&RawValue> =
        serde_json::from_str(field.get()).map_err(|_| Violation::Type("a list of strings"))?;
    items.into_iter().map(string).collect()
}

/// A whole number; in JSON also `4.0` is one.
pub(super) fn integer(field: &RawValue) -> Result<i64, Violation> {
    let number: Number = serde_json::from_str(field.get()).map_err(|_| Violation::Type("a whole number"))?;
    whole(&number).ok_or(Violation::Type("a whole number"))
}

/// A boolean.
pub(super) fn boolean(field: &RawValue) -> Result<bool, Violation> {
    serde_json::from_str(field.get()).map_err(|_| Violation::Type("a boolean"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_string_has_no_character_that_a_database_rejects() {
        assert_eq!(string(&raw(r#""é \ud83d\ude00""#)), Ok("é 😀".to_owned()));
        assert_eq!(string(&raw(r#""\ud800""#)), Err(Violation::Character));
        assert_eq!(string(&raw(r#""a\u0000""#)), Err(Violation::Character));
        assert_eq!(string(&raw("1")), Err(Violation::Type("a string")));
        assert_eq!(string(&raw(r#"["a"]"#)), Err(Violation::Type("a string")));
    }

    #[test]
    fn an_object_is_checked_to_its_full_depth() {
        assert!(object(&raw(r#"{"a": [1]}"#)).is_ok());
        assert_eq!(object(&raw("[]")), Err(Violation::Type("an object")));
        assert_eq!(object(&raw(r#"{"a": [{"b\u0000": 1}]}"#)), Err(Violation::Character));
        assert_eq!(object(&raw(r#"{"a": "\udc00"}"#)), Err(Violation::Character));
        assert_eq!(object(&raw(r#"{"a": [1e999]}"#)), Err(Violation::Number));
        assert_eq!(object(&raw(r#"{"a": 1e999, "a": 1}"#)), Err(Violation::Number));
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let deepest = nested(MAX_DEPTH);
        assert!(object(&raw(&deepest)).is_ok());
        assert!(serde_json::from_str::<Value>(&deepest).is_ok(), "what is taken can be read again");
        assert_eq!(object(&raw(&nested(MAX_DEPTH + 1))), Err(Violation::Depth));
        assert_eq!(object(&raw(&nested(5_000))), Err(Violation::Depth));
        assert_eq!(
            object(&raw(&format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000)))),
            Err(Violation::Depth)
        );
    }

    #[test]
    fn an_object_keeps_its_order_and_the_last_of_two_fields_with_one_name() {
        let read =
            object(&raw(r#"{"z": 1, "a": [null, true, -1.5e3, 18446744073709551615], "z": {"b": ""}}"#));
        let expected = r#"{"z":{"b":""},"a":[null,true,-1500.0,18446744073709551615]}"#;
        assert_eq!(Value::Object(read.unwrap()).to_string(), expected);
    }

    #[test]
    fn an_object_with_any_fields_has_its_nulls_and_is_checked() {
        let read = |body: &str| read_object(body.as_bytes());
        let found = read(r#" {"a": null, "b": [1]}"#).unwrap().unwrap();
        assert_eq!(Value::from(found), serde_json::json!({ "a": null, "b": [1] }));
        assert_eq!(read(r#"{"a": "\u0000"}"#), Ok(Err(Violation::Character)));
        assert_eq!(read("[]"), Err(BodyError::NotAnObject));
        assert_eq!(read("{"), Err(BodyError::NotJson));
    }

    #[test]
    fn a_field_that_an_object_has_twice_is_found_at_any_depth() {
        let find = |body: &str| find_duplicate(body.as_bytes());
        assert_eq!(find(r#" {"a": 1, "b": {"a": [{"a": 2}, "a"]}}"#), None);
        assert_eq!(find(r#"{"a": 1, "\u0061": 1}"#).as_deref(), Some("a"));
        assert_eq!(find(r#"{"a": [[{"b": 1, "c": {}, "b": 1}]]}"#).as_deref(), Some("b"));
        assert_eq!(find(r#"[{"a": "\ud800"}, {"b": 1, "b": 1}]"#).as_deref(), Some("b"));
        assert_eq!(find(r#"{"a": "{\"b\": 1, \\", "c": {"b": -1.5e3 , "b":null}}"#).as_deref(), Some("b"));
        let deepest =
            |json: &str| format!("{}{json}{}", "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
        assert_eq!(find(&deepest(r#"{"a": 1, "a": 1}"#)).as_deref(), Some("a"));
        assert_eq!(find(&deepest(r#"[{"a": 1, "a": 1}]"#)), None);
        for unreadable in
            ["", "{", "1", &"[".repeat(5_000), &format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))]
        {
            assert_eq!(find(unreadable), None);
        }
    }

    #[test]
    fn a_body_is_a_json_object() {
        let read = |body: &str| {
            read_fields(body.as_bytes()).map(|fields| fields.get("a").map(|value| value.get() != "null"))
        };
        assert_eq!(read(r#" {"a": 1, "b": 2}"#), Ok(Some(true)));
        assert_eq!(read(r#"{"a": null}"#), Ok(Some(false)));
        assert_eq!(read(r#"{"a": null, "a": 1}"#), Ok(Some(true)));
        assert_eq!(read(&"[".repeat(100_000)), Err(BodyError::NotJson));
        assert_eq!(
            read(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            Err(BodyError::NotAnObject)
        );
        assert_eq!(read(r#"["a"]"#), Err(BodyError::NotAnObject));
        assert_eq!(read("{"), Err(BodyError::NotJson));
        assert_eq!(read(""), Err(BodyError::NotJson));
        assert_eq!(read_fields(b"{\"a\": \"\xff\"}").map(drop), Err(BodyError::NotJson));
    }
}
