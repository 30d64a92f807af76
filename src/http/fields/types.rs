//! The types of request fields: each checks a value and describes it.

use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema};
use utoipa::openapi::{SchemaFormat, Type};

use super::Violation;
use super::json::{boolean, integer, object, string};
use crate::domain::error::Error;
use crate::http::envelope::Platform;

/// The type of a field that is present.
pub(in crate::http) trait FieldType {
    type Value;

    /// The checked value; none if it counts as absent.
    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation>;

    fn schema() -> Schema;
}

/// A field of a request: a [`FieldType`], which is required, or an `Option` of one.
pub(in crate::http) trait RequestField {
    type Value;
    const IS_REQUIRED: bool;

    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation>;

    fn field_schema() -> Schema;
}

impl<T: FieldType> RequestField for T {
    type Value = T::Value;
    const IS_REQUIRED: bool = true;

    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        raw.map(T::check).transpose()?.flatten().ok_or(Violation::Missing)
    }

    fn field_schema() -> Schema {
        T::schema()
    }
}

impl<T: FieldType> RequestField for Option<T> {
    type Value = Option<T::Value>;
    const IS_REQUIRED: bool = false;

    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        Ok(raw.map(T::check).transpose()?.flatten())
    }

    fn field_schema() -> Schema {
        T::schema()
    }
}

/// The schema of a string of at most this many characters.
pub(in crate::http) fn string_schema(max_chars: Option<usize>) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).max_length(max_chars).build().into()
}

/// Any string.
#[derive(Debug)]
pub(in crate::http) enum AnyText {}

impl FieldType for AnyText {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        string(raw).map(Some)
    }

    fn schema() -> Schema {
        string_schema(None)
    }
}

/// A string that is not blank, of at most `MAX` characters. It is not trimmed.
#[derive(Debug)]
pub(in crate::http) enum Text<const MAX: usize> {}

impl<const MAX: usize> FieldType for Text<MAX> {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let text = string(raw)?;
        if text.trim().is_empty() {
            return Err(Violation::Missing);
        }
        if text.chars().count() > MAX {
            return Err(Violation::TooLong { max_chars: MAX });
        }
        Ok(Some(text))
    }

    fn schema() -> Schema {
        string_schema(Some(MAX))
    }
}

/// The longest [`Name`], in characters.
const MAX_NAME: usize = 255;

/// A string of at most 255 characters; a blank one counts as absent.
#[derive(Debug)]
pub(in crate::http) enum Name {}

impl FieldType for Name {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let text = string(raw)?;
        if text.chars().count() > MAX_NAME {
            return Err(Violation::TooLong { max_chars: MAX_NAME });
        }
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    fn schema() -> Schema {
        string_schema(Some(MAX_NAME))
    }
}

/// A [`Name`] that a blank string removes: then the value is none.
#[derive(Debug)]
pub(in crate::http) enum Clearable {}

impl FieldType for Clearable {
    type Value = Option<String>;

    fn check(raw: &RawValue) -> Result<Option<Option<String>>, Violation> {
        Name::check(raw).map(Some)
    }

    fn schema() -> Schema {
        Name::schema()
    }
}

/// A closed set of words for values of one type.
pub(in crate::http) trait Choice {
    type Value: FromStr;

    fn words() -> Vec<&'static str>;
}

/// The value of a word.
pub(super) fn choose<C: Choice>(word: &str) -> Result<C::Value, Violation> {
    let words = C::words();
    let known = if words.contains(&word) { word.parse().ok() } else { None };
    known.ok_or(Violation::UnknownWord(words))
}

/// A word of a query.
pub(in crate::http) fn check_choice<C: Choice>(
    field: &'static str,
    word: Option<&str>,
) -> Result<Option<C::Value>, Error> {
    word.map(choose::<C>).transpose().map_err(|violation| violation.of::<Platform>(field))
}

/// One of the words of `C`. A value that is not a string is an error of its type.
#[derive(Debug)]
pub(in crate::http) struct OneOf<C>(PhantomData<C>);

impl<C: Choice> FieldType for OneOf<C> {
    type Value = C::Value;

    fn check(raw: &RawValue) -> Result<Option<C::Value>, Violation> {
        choose::<C>(&string(raw)?).map(Some)
    }

    fn schema() -> Schema {
        string_schema(None)
    }
}

/// One of the words of `C`. A value that is not a string is an unknown word.
#[derive(Debug)]
pub(in crate::http) struct Word<C>(PhantomData<C>);

impl<C: Choice> FieldType for Word<C> {
    type Value = C::Value;

    fn check(raw: &RawValue) -> Result<Option<C::Value>, Violation> {
        let word = string(raw).map_err(|_| Violation::UnknownWord(C::words()))?;
        choose::<C>(&word).map(Some)
    }

    fn schema() -> Schema {
        string_schema(None)
    }
}

/// A boolean.
#[derive(Debug)]
pub(in crate::http) enum Flag {}

impl FieldType for Flag {
    type Value = bool;

    fn check(raw: &RawValue) -> Result<Option<bool>, Violation> {
        boolean(raw).map(Some)
    }

    fn schema() -> Schema {
        ObjectBuilder::new().schema_type(Type::Boolean).build().into()
    }
}

/// An object with any fields, of at most `MAX` bytes as it was sent.
#[derive(Debug)]
pub(in crate::http) enum FreeObject<const MAX: usize> {}

impl<const MAX: usize> FieldType for FreeObject<MAX> {
    type Value = Map<String, Value>;

    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation> {
        if raw.get().starts_with('{') && raw.get().len() > MAX {
            return Err(Violation::TooLarge { max_bytes: MAX });
        }
        object(raw).map(Some)
    }

    fn schema() -> Schema {
        ObjectBuilder::new().schema_type(Type::Object).build().into()
    }
}

/// A [`FreeObject`] whose value is its JSON text, in the order in which it was sent.
#[derive(Debug)]
pub(in crate::http) enum JsonText<const MAX: usize> {}

impl<const MAX: usize> FieldType for JsonText<MAX> {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        FreeObject::<MAX>::check(raw)?;
        Ok(Some(raw.get().to_owned()))
    }

    fn schema() -> Schema {
        FreeObject::<MAX>::schema()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug)]
pub(in crate::http) struct Integer<T, const MIN: i64, const MAX: i64>(PhantomData<T>);

impl<T: TryFrom<i64> + 'static, const MIN: i64, const MAX: i64> FieldType for Integer<T, MIN, MAX> {
    type Value = T;

    fn check(raw: &RawValue) -> Result<Option<T>, Violation> {
        let number = integer(raw).ok().filter(|number| (MIN..=MAX).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or(Violation::OutOfRange { min: MIN, max: MAX })
    }

    fn schema() -> Schema {
        let format = if size_of::<T>() == 4 { KnownFormat::Int32 } else { KnownFormat::Int64 };
        let schema = ObjectBuilder::new().schema_type(Type::Integer);
        let schema = schema.format(Some(SchemaFormat::KnownFormat(format)));
        schema.minimum(Some(MIN)).maximum(Some(MAX)).build().into()
    }
}
