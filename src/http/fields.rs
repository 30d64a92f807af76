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
pub(super) enum NoFields {
    NotJson,
    NotAnObject,
}

/// How many levels free JSON may have: as many as `serde_json` reads, by which it is read again
/// wherever it was kept.
pub(super) const DEEPEST: usize = 127;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is of another type.
    Type,
    /// It has U+0000 or half of a surrogate pair, which no store keeps.
    Character,
    /// It has a number that is out of the range of a double.
    Number,
    /// It is nested deeper than [`DEEPEST`].
    Depth,
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
    if field.get().starts_with('{') { entries(field, DEEPEST) } else { Err(Flaw::Type) }
}

/// The entries of an object that may have `levels` levels, itself one of them.
fn entries(object: &RawValue, levels: usize) -> Result<Map<String, Value>, Flaw> {
    let inner = levels.checked_sub(1).ok_or(Flaw::Depth)?;
    // The values are not looked into here, so only a name can be wrong.
    let Entries(entries) = serde_json::from_str(object.get()).map_err(|_| Flaw::Character)?;
    let checked = entries.into_iter().map(|(name, sent)| {
        if name.contains('\0') { Err(Flaw::Character) } else { Ok((name, value(sent, inner)?)) }
    });
    checked.collect()
}

fn value(sent: &RawValue, levels: usize) -> Result<Value, Flaw> {
    match sent.get().as_bytes() {
        [b'{', ..] => entries(sent, levels).map(Value::Object),
        [b'[', ..] => {
            let inner = levels.checked_sub(1).ok_or(Flaw::Depth)?;
            let items: Vec<&RawValue> = serde_json::from_str(sent.get()).map_err(|_| Flaw::Type)?;
            items.into_iter().map(|item| value(item, inner)).collect()
        }
        [b'"', ..] => text(sent).map(Value::String),
        // A truth value or null is always read: what is left is a number.
        _ => serde_json::from_str(sent.get()).map_err(|_| Flaw::Number),
    }
}

/// The entries of an object in their order, each value as it was sent.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
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

        deserializer.deserialize_map(InOrder)
    }
}

/// A list of texts.
pub(super) fn texts(field: &RawValue) -> Result<Vec<String>, Flaw> {
    let items: Vec<&RawValue> = serde_json::from_str(field.get()).map_err(|_| Flaw::Type)?;
    items.into_iter().map(text).collect()
}

/// A whole number.
pub(super) fn whole(field: &RawValue) -> Result<i64, Flaw> {
    serde_json::from_str(field.get()).map_err(|_| Flaw::Type)
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
        assert_eq!(object(&raw(r#"{"a": [1e999]}"#)), Err(Flaw::Number));
        assert_eq!(object(&raw(r#"{"a": 1e999, "a": 1}"#)), Err(Flaw::Number));
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let deepest = nested(DEEPEST);
        assert!(object(&raw(&deepest)).is_ok());
        assert!(serde_json::from_str::<Value>(&deepest).is_ok(), "what is taken can be read again");
        assert_eq!(object(&raw(&nested(DEEPEST + 1))), Err(Flaw::Depth));
        assert_eq!(object(&raw(&nested(5_000))), Err(Flaw::Depth));
        assert_eq!(
            object(&raw(&format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000)))),
            Err(Flaw::Depth)
        );
    }

    #[test]
    fn an_object_keeps_its_order_and_of_two_with_one_name_the_last() {
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
