//! The types of request fields: each checks a value and describes it.

use std::marker::PhantomData;
use std::str::FromStr;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaType,
};
use utoipa::openapi::{RefOr, SchemaFormat, Type};
use utoipa::{PartialSchema as _, ToSchema};
use uuid::Uuid;

use super::Violation;
use super::json::{boolean, integer, object, string};
use crate::domain::error::Error;
use crate::domain::ids::AssistantId;
use crate::domain::schema::{AssistantIdOrUuid, BLANK, formatted, not_blank, pattern, words};
use crate::http::envelope::Platform;

/// The type of a field that is present.
pub(in crate::http) trait FieldType {
    type Value;

    /// The checked value; none if it counts as absent.
    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation>;

    /// The value that `null` stands for in an update; none if the field cannot be cleared.
    fn cleared() -> Option<Self::Value> {
        None
    }

    /// The schema of a value that does not count as absent.
    fn schema() -> Schema;

    /// The schema of an optional field, whose value may also count as absent.
    fn optional_schema() -> Schema {
        Self::schema()
    }
}

/// A field of a request: a [`FieldType`], which is required, or an `Option` of one.
pub(in crate::http) trait RequestField {
    type Value;
    const IS_REQUIRED: bool;

    /// Null counts as absent.
    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation>;

    /// The same in an update, where null [clears](FieldType::cleared) the field.
    fn read_update(raw: Option<&RawValue>) -> Result<Self::Value, Violation>;

    fn field_schema() -> Schema;

    /// The schema of the field in an update.
    fn update_schema() -> Schema;
}

/// Reads a field of an update, or of an object within a body.
pub(super) fn read_or_clear<F: FieldType>(raw: &RawValue) -> Result<Option<F::Value>, Violation> {
    if raw.get() == "null" { F::cleared().map(Some).ok_or(Violation::Null) } else { F::check(raw) }
}

/// The schema of a field that [`read_or_clear`] reads.
pub(in crate::http) fn clearable_schema<F: FieldType>() -> Schema {
    if F::cleared().is_some() { nullable(F::optional_schema()) } else { F::optional_schema() }
}

impl<T: FieldType> RequestField for T {
    type Value = T::Value;
    const IS_REQUIRED: bool = true;

    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        let raw = raw.filter(|raw| raw.get() != "null");
        raw.map(T::check).transpose()?.flatten().ok_or(Violation::Missing)
    }

    fn read_update(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        Self::read(raw)
    }

    fn field_schema() -> Schema {
        T::schema()
    }

    fn update_schema() -> Schema {
        T::schema()
    }
}

impl<T: FieldType> RequestField for Option<T> {
    type Value = Option<T::Value>;
    const IS_REQUIRED: bool = false;

    fn read(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        let raw = raw.filter(|raw| raw.get() != "null");
        Ok(raw.map(T::check).transpose()?.flatten())
    }

    fn read_update(raw: Option<&RawValue>) -> Result<Self::Value, Violation> {
        Ok(raw.map(read_or_clear::<T>).transpose()?.flatten())
    }

    fn field_schema() -> Schema {
        nullable(T::optional_schema())
    }

    fn update_schema() -> Schema {
        clearable_schema::<T>()
    }
}

/// A schema that also allows `null`.
fn nullable(mut schema: Schema) -> Schema {
    let with_null = |kind: &mut SchemaType| {
        if let SchemaType::Type(one) = kind {
            *kind = SchemaType::Array(vec![one.clone(), Type::Null]);
        }
    };
    // Of a boolean that can have one value, tools do not expect a third.
    let is_one_boolean = |object: &Object| {
        object.schema_type == SchemaType::Type(Type::Boolean) && object.enum_values.is_some()
    };
    if let Schema::Object(object) = &mut schema
        && !is_one_boolean(object)
    {
        with_null(&mut object.schema_type);
        if let Some(words) = &mut object.enum_values {
            words.push(Value::Null);
        }
        return schema;
    }
    if let Schema::Array(array) = &mut schema {
        with_null(&mut array.schema_type);
        return schema;
    }
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOfBuilder::new().item(schema).item(null).into()
}

/// A schema that does not allow `null`.
pub(in crate::http) fn without_null(mut schema: Schema) -> Schema {
    let without_null = |kind: &mut SchemaType| {
        if let SchemaType::Array(kinds) = kind {
            kinds.retain(|kind| *kind != Type::Null);
            if let [only] = kinds.as_slice() {
                *kind = SchemaType::Type(only.clone());
            }
        }
    };
    if let Schema::Object(object) = &mut schema {
        without_null(&mut object.schema_type);
        if let Some(words) = &mut object.enum_values {
            words.retain(|word| !word.is_null());
        }
    } else if let Schema::Array(array) = &mut schema {
        without_null(&mut array.schema_type);
    }
    schema
}

/// Any string that the databases store.
const STORABLE: &str = r"^[^\u0000]*$";

/// The schema of a string of at most this many characters.
pub(in crate::http) fn string_schema(max_chars: Option<usize>) -> Schema {
    pattern(STORABLE).max_length(max_chars).into()
}

/// The schema of a string of at most this many characters that is not blank.
fn text_schema(max_chars: usize) -> Schema {
    not_blank().min_length(Some(1)).max_length(Some(max_chars)).into()
}

/// The schema of an http or https URL of at most this many characters.
pub(in crate::http) fn url_schema(max_chars: usize) -> Schema {
    formatted("uri").pattern(Some("^[Hh][Tt][Tt][Pp][Ss]?:")).max_length(Some(max_chars)).into()
}

/// The id of a resource, as it was sent; any other text is a resource that does not exist.
#[derive(Debug)]
pub(in crate::http) struct Id<I>(PhantomData<I>);

impl<I: ToSchema> FieldType for Id<I> {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        AnyText::check(raw)
    }

    fn schema() -> Schema {
        match I::schema() {
            RefOr::T(schema) => schema,
            RefOr::Ref(_) => string_schema(None),
        }
    }
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
        text_schema(MAX)
    }
}

/// The longest [`Name`], in characters.
const MAX_NAME: usize = 255;

/// A string of at most 255 characters; a blank one counts as absent.
pub(in crate::http) type Name = Note<MAX_NAME>;

/// A string of at most `MAX` characters; a blank one counts as absent.
#[derive(Debug)]
pub(in crate::http) enum Note<const MAX: usize> {}

impl<const MAX: usize> FieldType for Note<MAX> {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let text = string(raw)?;
        if text.chars().count() > MAX {
            return Err(Violation::TooLong { max_chars: MAX });
        }
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    fn schema() -> Schema {
        text_schema(MAX)
    }

    fn optional_schema() -> Schema {
        string_schema(Some(MAX))
    }
}

/// A field that an update can remove, with `null` or a value that counts as absent: then the value is none.
#[derive(Debug)]
pub(in crate::http) struct Clearable<F>(PhantomData<F>);

impl<F: FieldType> FieldType for Clearable<F> {
    type Value = Option<F::Value>;

    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation> {
        F::check(raw).map(Some)
    }

    fn cleared() -> Option<Self::Value> {
        Some(None)
    }

    fn schema() -> Schema {
        F::optional_schema()
    }
}

/// An assistant by its UUID, or by its `ast_…` id. A blank text counts as absent.
#[derive(Debug)]
pub(in crate::http) enum AssistantName {}

impl FieldType for AssistantName {
    type Value = AssistantId;

    fn check(raw: &RawValue) -> Result<Option<AssistantId>, Violation> {
        let text = string(raw)?;
        if text.trim().is_empty() { Ok(None) } else { assistant_id(&text).map(Some) }
    }

    fn schema() -> Schema {
        match AssistantIdOrUuid::schema() {
            RefOr::T(schema) => schema,
            RefOr::Ref(_) => string_schema(None),
        }
    }

    fn optional_schema() -> Schema {
        let mut schema = Self::schema();
        if let Schema::Object(object) = &mut schema
            && let Some(id) = &object.pattern
        {
            object.pattern = Some(format!("^[{BLANK}]*$|{id}"));
        }
        schema
    }
}

/// The assistant of a name in a body or a query.
pub(in crate::http) fn assistant_id(text: &str) -> Result<AssistantId, Violation> {
    // The parser of UUIDs also accepts those without hyphens, in braces and as URNs.
    let uuid = if text.len() == 36 { Uuid::try_parse(text).map(AssistantId).ok() } else { None };
    let id = text.parse().ok().or(uuid);
    id.ok_or_else(|| Violation::rule("must be an id of the form ast_…, or a UUID"))
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
        words(C::words()).into()
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
        words(C::words()).into()
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
        let object = ObjectBuilder::new().schema_type(Type::Object);
        object.additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
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

    fn cleared() -> Option<String> {
        Some("{}".to_owned())
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

#[cfg(test)]
mod tests;
