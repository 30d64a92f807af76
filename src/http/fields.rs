//! The fields of a JSON body, one by one: each flaw is found with its field, so that
//! a door can say in its own words which one to mend.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A field as it was sent; `null` counts as absent.
pub(super) type Field = Option<Box<RawValue>>;

/// Why a body gives no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    NotJson,
    NotAnObject,
}

/// How many levels free JSON may have: as many as `serde_json` reads, by which it is read again
/// wherever it was kept.
pub(super) const MAX_DEPTH: usize = 127;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldErrorKind {
    /// It is of another type.
    Type,
    /// It has U+0000 or half of a surrogate pair, which no store keeps.
    Character,
    /// It has a number that is out of the range of a double.
    Number,
    /// It is nested deeper than [`MAX_DEPTH`].
    Depth,
}

/// The fields of a body that is a JSON object. `T` has a [`Field`] each; others are ignored, and
/// of two with one name the last counts.
pub(super) fn read_fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|_| body_error(body))?;
    let fields = fields.iter().map(|(name, value)| (name.as_str(), *value));
    T::deserialize(MapDeserializer::new(fields)).map_err(|_: serde_json::Error| BodyError::NotJson)
}

fn body_error(body: &[u8]) -> BodyError {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) if !value.get().starts_with('{') => BodyError::NotAnObject,
        Ok(_) | Err(_) => BodyError::NotJson,
    }
}

/// A text.
pub(super) fn string(field: &RawValue) -> Result<String, FieldErrorKind> {
    if !field.get().starts_with('"') {
        return Err(FieldErrorKind::Type);
    }
    let text: String = serde_json::from_str(field.get()).map_err(|_| FieldErrorKind::Character)?;
    if text.contains('\0') { Err(FieldErrorKind::Character) } else { Ok(text) }
}

/// A JSON object.
pub(super) fn object(field: &RawValue) -> Result<Map<String, Value>, FieldErrorKind> {
    if field.get().starts_with('{') { entries(field, MAX_DEPTH) } else { Err(FieldErrorKind::Type) }
}

/// The entries of an object that may have `levels` levels, itself one of them.
fn entries(object: &RawValue, levels: usize) -> Result<Map<String, Value>, FieldErrorKind> {
    let inner = levels.checked_sub(1).ok_or(FieldErrorKind::Depth)?;
    // The values are not looked into here, so only a name can be wrong.
    let Entries(entries) = serde_json::from_str(object.get()).map_err(|_| FieldErrorKind::Character)?;
    let checked = entries.into_iter().map(|(name, raw)| {
        if name.contains('\0') { Err(FieldErrorKind::Character) } else { Ok((name, value(raw, inner)?)) }
    });
    checked.collect()
}

fn value(raw: &RawValue, levels: usize) -> Result<Value, FieldErrorKind> {
    match raw.get().as_bytes() {
        [b'{', ..] => entries(raw, levels).map(Value::Object),
        [b'[', ..] => {
            let inner = levels.checked_sub(1).ok_or(FieldErrorKind::Depth)?;
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| FieldErrorKind::Type)?;
            items.into_iter().map(|item| value(item, inner)).collect()
        }
        [b'"', ..] => string(raw).map(Value::String),
        // A truth value or null is always read: what is left is a number.
        _ => serde_json::from_str(raw.get()).map_err(|_| FieldErrorKind::Number),
    }
}

/// The entries of an object in their order, each value as it was sent.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A list of texts.
pub(super) fn strings(field: &RawValue) -> Result<Vec<String>, FieldErrorKind> {
    let items: Vec<&RawValue> = serde_json::from_str(field.get()).map_err(|_| FieldErrorKind::Type)?;
    items.into_iter().map(string).collect()
}

/// A whole number.
pub(super) fn integer(field: &RawValue) -> Result<i64, FieldErrorKind> {
    serde_json::from_str(field.get()).map_err(|_| FieldErrorKind::Type)
}

/// A truth value.
pub(super) fn boolean(field: &RawValue) -> Result<bool, FieldErrorKind> {
    serde_json::from_str(field.get()).map_err(|_| FieldErrorKind::Type)
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
        assert_eq!(string(&raw(r#""\ud800""#)), Err(FieldErrorKind::Character));
        assert_eq!(string(&raw(r#""a\u0000""#)), Err(FieldErrorKind::Character));
        assert_eq!(string(&raw("1")), Err(FieldErrorKind::Type));
        assert_eq!(string(&raw(r#"["a"]"#)), Err(FieldErrorKind::Type));
    }

    #[test]
    fn an_object_is_checked_to_its_full_depth() {
        assert!(object(&raw(r#"{"a": [1]}"#)).is_ok());
        assert_eq!(object(&raw("[]")), Err(FieldErrorKind::Type));
        assert_eq!(object(&raw(r#"{"a": [{"b\u0000": 1}]}"#)), Err(FieldErrorKind::Character));
        assert_eq!(object(&raw(r#"{"a": "\udc00"}"#)), Err(FieldErrorKind::Character));
        assert_eq!(object(&raw(r#"{"a": [1e999]}"#)), Err(FieldErrorKind::Number));
        assert_eq!(object(&raw(r#"{"a": 1e999, "a": 1}"#)), Err(FieldErrorKind::Number));
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let deepest = nested(MAX_DEPTH);
        assert!(object(&raw(&deepest)).is_ok());
        assert!(serde_json::from_str::<Value>(&deepest).is_ok(), "what is taken can be read again");
        assert_eq!(object(&raw(&nested(MAX_DEPTH + 1))), Err(FieldErrorKind::Depth));
        assert_eq!(object(&raw(&nested(5_000))), Err(FieldErrorKind::Depth));
        assert_eq!(
            object(&raw(&format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000)))),
            Err(FieldErrorKind::Depth)
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
    fn a_body_is_a_json_object() {
        #[derive(Debug, serde::Deserialize)]
        struct Fields {
            a: Field,
        }

        let read = |body: &str| read_fields::<Fields>(body.as_bytes()).map(|fields| fields.a.is_some());
        assert_eq!(read(r#" {"a": 1, "b": 2}"#), Ok(true));
        assert_eq!(read(r#"{"a": null}"#), Ok(false));
        assert_eq!(read(r#"{"a": null, "a": 1}"#), Ok(true));
        assert_eq!(read(&"[".repeat(100_000)), Err(BodyError::NotJson));
        assert_eq!(
            read(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            Err(BodyError::NotAnObject)
        );
        assert_eq!(read(r#"["a"]"#), Err(BodyError::NotAnObject));
        assert_eq!(read("{"), Err(BodyError::NotJson));
        assert_eq!(read(""), Err(BodyError::NotJson));
        assert_eq!(read_fields::<Fields>(b"{\"a\": \"\xff\"}").map(drop), Err(BodyError::NotJson));
    }
}
