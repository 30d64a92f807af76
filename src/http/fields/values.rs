//! Fields whose values are times, amounts of money, or words of closed sets in a list.

use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, SchemaFormat, Type};

use super::types::choose;
use super::{AnyText, Choice, FieldType, Violation, strings};
use crate::domain::clock::Micros;
use crate::domain::money::Money;
use crate::domain::schema::words;

/// A time as RFC 3339 writes it.
#[derive(Debug)]
pub(in crate::http) enum Time {}

impl Time {
    /// The time that a text gives.
    pub(in crate::http) fn parse(text: &str) -> Result<Micros, Violation> {
        let time = text.parse::<Timestamp>().map(Micros::from);
        time.map_err(|_| Violation::rule("must be a time such as 2026-03-15T14:00:00Z"))
    }
}

impl FieldType for Time {
    type Value = Micros;

    fn check(raw: &RawValue) -> Result<Option<Micros>, Violation> {
        AnyText::check(raw)?.as_deref().map(Self::parse).transpose()
    }

    fn schema() -> Schema {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).build().into()
    }
}

/// The most digits before the point of an amount.
const MAX_WHOLE_DIGITS: usize = 12;

/// An amount of money. With a minus sign only if `SIGNED`.
#[derive(Debug)]
pub(in crate::http) enum Amount<const SIGNED: bool = false> {}

impl<const SIGNED: bool> FieldType for Amount<SIGNED> {
    type Value = Money;

    fn check(raw: &RawValue) -> Result<Option<Money>, Violation> {
        let amount = AnyText::check(raw)?.filter(|text| is_in_range(text, SIGNED));
        let amount = amount.and_then(|text| text.parse().ok());
        let rule =
            || Violation::rule("must be an amount in dollars with at most six places, such as \"10.00\"");
        amount.map(Some).ok_or_else(rule)
    }

    fn schema() -> Schema {
        // A signed amount moves money, and so is not zero.
        let sign = if SIGNED { "(?!-?[0.]+$)-?" } else { "" };
        let pattern = format!("^{sign}[0-9]{{1,{MAX_WHOLE_DIGITS}}}(\\.[0-9]{{1,6}})?$");
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build().into()
    }
}

/// Whether an amount has no sign that it must not have, and not too many digits before the point.
fn is_in_range(text: &str, is_signed: bool) -> bool {
    let unsigned = text.strip_prefix('-').filter(|_| is_signed).unwrap_or(text);
    let whole = unsigned.split('.').next().unwrap_or_default();
    whole.len() <= MAX_WHOLE_DIGITS && !whole.starts_with('-')
}

/// A list of words of `C`, at least one, each of which counts once.
#[derive(Debug)]
pub(in crate::http) struct Words<C>(PhantomData<C>);

impl<C: Choice<Value: PartialEq>> FieldType for Words<C> {
    type Value = Vec<C::Value>;

    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation> {
        let mut values = Vec::new();
        for word in strings(raw)? {
            let rule = || format!("must be a list of these: {}", C::words().join(", "));
            let value = choose::<C>(&word).map_err(|_| Violation::rule(rule()))?;
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if values.is_empty() { Err(Violation::Missing) } else { Ok(Some(values)) }
    }

    fn schema() -> Schema {
        let items: Schema = words(C::words()).into();
        ArrayBuilder::new().items(RefOr::T(items)).min_items(Some(1)).build().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn an_amount_is_a_decimal_text() {
        assert_eq!(<Amount>::check(&raw("\"0.005\"")), Ok(Some(Money(5_000))));
        assert_eq!(Amount::<true>::check(&raw("\"-1\"")), Ok(Some(Money(-1_000_000))));
        assert_eq!(
            <Amount>::check(&raw("\"999999999999.999999\"")),
            Ok(Some(Money(999_999_999_999_999_999)))
        );
        for json in
            ["\"-1\"", "\"-0\"", "\"\"", "\"1e3\"", "\"1,00\"", "\"1000000000000\"", "\"0000000000001\"", "1"]
        {
            assert!(<Amount>::check(&raw(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn a_time_has_a_zone() {
        assert_eq!(Time::check(&raw("\"1970-01-01T01:00:01+01:00\"")), Ok(Some(Micros(1_000_000))));
        for json in ["\"\"", "\"2026-03-15\"", "\"2026-03-15T14:22:11\"", "0"] {
            assert!(Time::check(&raw(json)).is_err(), "{json}");
        }
    }
}
