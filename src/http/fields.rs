//! The fields of a JSON body, one by one: each flaw is found with its field, so that
//! a door can say in its own words which one to mend.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::chat::clean_map;

/// A field as it was sent; `null` counts as absent.
pub(super) type Field = Option<Box<RawValue>>;

/// Why a body gives no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFields {
    NotJson,
    NotAnObject,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is of another type.
    Type,
    /// It has U+0000 or half of a surrogate pair, which no store keeps, or is nested without end.
    Character,
}

/// The fields of a body that is a JSON object. `T` has a [`Field`] each; others are ignored, and
/// of two with one name the last counts.
pub(super) fn read_fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, NoFields> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|_| no_fields(body))?;
    let fields = fields.iter().map(|(name, value)| (name.as_str(), *value));
    T::deserialize(MapDeserializer::new(fields)).map_err(|_: serde_json::Error| NoFields::NotJson)
}

fn no_fields(body: &[u8]) -> NoFields {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) if !value.get().starts_with('{') => NoFields::NotAnObject,
        Ok(_) | Err(_) => NoFields::NotJson,
    }
}

/// A text.
pub(super) fn text(field: &RawValue) -> Result<String, Flaw> {
    if !field.get().starts_with('"') {
        return Err(Flaw::Type);
    }
    let text: String = serde_json::from_str(field.get()).map_err(|_| Flaw::Character)?;
    if text.contains('\0') { Err(Flaw::Character) } else { Ok(text) }
}

/// A JSON object.
pub(super) fn object(field: &RawValue) -> Result<Map<String, Value>, Flaw> {
    if !field.get().starts_with('{') {
        return Err(Flaw::Type);
    }
    let fields: Map<String, Value> = serde_json::from_str(field.get()).map_err(|_| Flaw::Character)?;
    if clean_map(fields.clone()) == fields { Ok(fields) } else { Err(Flaw::Character) }
}

/// A truth value.
pub(super) fn truth(field: &RawValue) -> Result<bool, Flaw> {
    serde_json::from_str(field.get()).map_err(|_| Flaw::Type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_text_is_a_string_that_every_store_keeps() {
        assert_eq!(text(&raw(r#""é \ud83d\ude00""#)), Ok("é 😀".to_owned()));
        assert_eq!(text(&raw(r#""\ud800""#)), Err(Flaw::Character));
        assert_eq!(text(&raw(r#""a\u0000""#)), Err(Flaw::Character));
        assert_eq!(text(&raw("1")), Err(Flaw::Type));
        assert_eq!(text(&raw(r#"["a"]"#)), Err(Flaw::Type));
    }

    #[test]
    fn an_object_is_looked_at_to_its_depth() {
        assert!(object(&raw(r#"{"a": [1]}"#)).is_ok());
        assert_eq!(object(&raw("[]")), Err(Flaw::Type));
        assert_eq!(object(&raw(r#"{"a": [{"b\u0000": 1}]}"#)), Err(Flaw::Character));
        assert_eq!(object(&raw(r#"{"a": "\udc00"}"#)), Err(Flaw::Character));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
        assert_eq!(object(&raw(&deep)), Err(Flaw::Character));
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
        assert_eq!(read(&"[".repeat(100_000)), Err(NoFields::NotJson));
        assert_eq!(
            read(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            Err(NoFields::NotAnObject)
        );
        assert_eq!(read(r#"["a"]"#), Err(NoFields::NotAnObject));
        assert_eq!(read("{"), Err(NoFields::NotJson));
        assert_eq!(read(""), Err(NoFields::NotJson));
        assert_eq!(read_fields::<Fields>(b"{\"a\": \"\xff\"}").map(drop), Err(NoFields::NotJson));
    }
}
