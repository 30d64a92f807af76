//! Objects within a body, whose fields an error names by their paths.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::json::{object, read_fields};
use super::types::read_or_clear;
use super::{FieldType, Violation};
use crate::domain::ignored_names::encode_name;
use crate::formats::json_config::{self, ReadError};

/// Reads an object that is a `T`. None of its fields is null.
pub(in crate::http) fn nested<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Violation> {
    let fields = object(raw)?;
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.is_null()) {
        return Err(Violation::Null.within(encode_name(name)));
    }
    json_config::read(fields).map_err(violation)
}

/// Reads an object whose fields are all of one type, and in this order. Null clears one, if that is possible.
pub(in crate::http) fn nested_values<F: FieldType, const N: usize>(
    raw: &RawValue,
    known: [&'static str; N],
) -> Result<[Option<F::Value>; N], Violation> {
    let fields = read_fields(raw.get().as_bytes()).map_err(|_| Violation::Type("an object"))?;
    json_config::check_names(fields.keys(), &known).map_err(violation)?;
    let mut values = [const { None }; N];
    for (name, value) in known.into_iter().zip(&mut values) {
        if let Some(raw) = fields.get(name) {
            *value = read_or_clear::<F>(raw).map_err(|violation| violation.within(name))?;
        }
    }
    Ok(values)
}

fn violation(error: ReadError) -> Violation {
    match error {
        ReadError::Missing(path) => Violation::Missing.within(path),
        ReadError::Unknown { field, known } => Violation::UnknownField(known).within(encode_name(&field)),
        ReadError::Invalid(error) => {
            Violation::rule(format!("is invalid: {}", error.problem)).within(error.field)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::{CaldavPatch, HoursIn};
    use crate::http::envelope::{Envelope as _, Platform};
    use crate::http::fields::Amount;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn an_error_names_the_path_of_the_field() {
        let hours = |json: &str| Platform::field_error("hours", &nested::<HoursIn>(&raw(json)).unwrap_err());
        assert_eq!(hours("[]"), "Field 'hours' must be an object.");
        let known = "'mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'";
        assert_eq!(hours(r#"{"mnn": []}"#), format!("Unknown field 'hours.mnn'. Known fields: {known}."));
        assert_eq!(
            hours(r#"{"mon": ["a", 5]}"#),
            "Field 'hours.mon[1]' is invalid: invalid type: integer `5`, expected a string."
        );
        let null = nested::<CaldavPatch>(&raw(r#"{"password": null}"#)).unwrap_err();
        assert_eq!(Platform::field_error("caldav", &null), "Field 'caldav.password' must not be null.");

        let prices = |json: &str| {
            let error = nested_values::<Amount, 2>(&raw(json), ["widget", "api"]).unwrap_err();
            Platform::field_error("pricing", &error)
        };
        assert_eq!(prices("5"), "Field 'pricing' must be an object.");
        assert_eq!(prices(r#"{"x": 1}"#), "Unknown field 'pricing.x'. Known fields: 'widget', 'api'.");
        assert_eq!(prices(r#"{"api": null}"#), "Field 'pricing.api' must not be null.");
        assert!(prices(r#"{"api": 5}"#).starts_with("Field 'pricing.api' must be "));
    }
}
