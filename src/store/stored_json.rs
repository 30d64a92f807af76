//! Configuration as JSON text, perhaps of a newer version: fields that this version does not know are ignored. The types refuse
//! them by themselves, because a workspace file may not have any.

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess,
    Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// Reads a stored text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    Deserialize::deserialize(Stored(serde_json::from_str(text)?))
}

/// A value from which each struct takes the fields that it declares. Serde reads the fields of a flattened struct by itself, so
/// nothing below them may refuse unknown fields.
struct Stored(Value);

impl IntoDeserializer<'_, Error> for Stored {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Stored {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Self))),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Self(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                value.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Value::Object(object) = &mut self.0 {
            object.retain(|name, _| fields.contains(&name.as_str()));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = match self.0 {
            Value::String(name) => Some(Variant { name, content: Self(Value::Null) }),
            Value::Object(object) => {
                let mut entries = object.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((name, content)), None) => Some(Variant { name, content: Self(content) }),
                    _ => None,
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        };
        visitor.visit_enum(variant.ok_or_else(|| Error::custom("expected one variant of an enum"))?)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// A variant of an externally tagged enum.
struct Variant {
    name: String,
    content: Stored,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Stored;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Stored), Error> {
        let name: StringDeserializer<Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Stored {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.0.is_null() { Ok(()) } else { Err(Error::custom("expected a variant without content")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::assistant::AssistantVersion;
    use crate::domain::calendar::CalendarSettings;
    use crate::domain::tool::Tool;

    /// Inserts a field that no version knows into the object at each of these paths.
    fn widen(value: &Value, paths: &[&str]) -> String {
        let mut widened = value.clone();
        for path in paths {
            widened.pointer_mut(path).unwrap()["of_a_newer_version"] = json!({ "nested": [1, "x"] });
        }
        widened.to_string()
    }

    fn calendar() -> Value {
        json!({
            "time_zone": "Europe/Berlin", "slot_minutes": 30, "buffer_minutes": 0, "minimum_notice_minutes": 0,
            "horizon_days": 60, "hours": { "mon": ["09:00-12:00"] },
            "caldav": { "url": "https://dav.example/", "username": "u", "password": { "sealed": "AAAA" } },
        })
    }

    fn webhook() -> Value {
        json!({
            "webhook": {
                "method": "GET", "url": "https://example.com", "headers": { "a": "b", "k": { "sealed": "AAAA" } },
                "form": false, "static": {}, "timeout": "5s", "idempotent": true,
            },
        })
    }

    #[test]
    fn unknown_fields_are_ignored_at_every_level_and_known_ones_are_read() {
        let rules = calendar();
        let tool = json!({
            "name": "n", "description": "d", "parameters": { "type": "object" }, "config": webhook(),
        });
        let mut booking = calendar();
        booking["id"] = json!("cal_00000000000000000000000001");
        let compiled = |slug: &str, kind: &Value| json!({ "slug": slug, "name": slug, "description": "d", "parameters": {}, "kind": kind });
        let version = json!({
            "slug": "a", "name": "A", "system_prompt": "p", "fallbacks": [{ "connection": "c", "model": "m" }],
            "parameters": { "temperature": 0.5 }, "variables": { "x": 1 }, "allow_test": true,
            "tools": [compiled("w", &webhook()), compiled("b", &json!({ "calendar_booking": { "calendar": booking } }))],
        });

        let read_rules: CalendarSettings = from_str(&widen(&rules, &["", "/caldav"])).unwrap();
        let read_tool: Tool = from_str(&widen(&tool, &["", "/config/webhook"])).unwrap();
        let paths = [
            "",
            "/fallbacks/0",
            "/tools/0",
            "/tools/0/kind/webhook",
            "/tools/1/kind/calendar_booking",
            "/tools/1/kind/calendar_booking/calendar",
            "/tools/1/kind/calendar_booking/calendar/caldav",
        ];
        let read_version: AssistantVersion = from_str(&widen(&version, &paths)).unwrap();

        assert_eq!(read_rules, serde_json::from_value(rules).unwrap());
        assert_eq!(read_tool, serde_json::from_value(tool).unwrap());
        assert_eq!(read_version, serde_json::from_value(version).unwrap());
    }

    #[test]
    fn a_missing_field_a_wrong_type_and_an_unknown_variant_are_errors() {
        let tool = |config: Value| {
            let tool = json!({ "name": "n", "description": "d", "parameters": {}, "config": config });
            from_str::<Tool>(&tool.to_string())
        };

        tool(webhook()).unwrap();
        for config in [
            json!({ "webhook": { "method": "GET" } }),
            json!({ "webhook": { "url": 1 } }),
            json!({ "telepathy": {} }),
            json!("webhook"),
            json!({ "webhook": { "url": "https://example.com" }, "mcp": {} }),
            json!(null),
        ] {
            assert!(tool(config.clone()).is_err(), "{config}");
        }
    }
}
