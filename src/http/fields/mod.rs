//! Request bodies. A body is declared once, field by field in the contract's order: the order in which errors are listed, each
//! field's check and its `OpenAPI` schema all follow from that declaration.

mod json;
mod nested;
mod types;
mod values;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{RefOr, Type};

use json::BodyError;
pub(super) use json::{MAX_DEPTH, strings};
pub(super) use nested::{nested, nested_values};
pub(super) use types::without_null;
pub(super) use types::{
    AnyText, AssistantName, Choice, Clearable, FieldType, Flag, FreeObject, Id, Integer, JsonText, Name,
    Note, OneOf, RequestField, Text, Word, assistant_id, check_choice, clearable_schema, string_schema,
    url_schema,
};
pub(super) use values::{Amount, Time, Words};

use super::envelope::Envelope;
use crate::domain::error::{Error, FieldError};
use crate::domain::ignored_names::{IgnoredNames, NameSource, encode_name};

/// The rule that a field's value breaks. `Display` completes a sentence whose subject is the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The field is absent, null or, if its type forbids that, blank.
    Missing,
    /// The field is null, which does not count as absent here.
    Null,
    /// The value has another JSON type than this one.
    Type(&'static str),
    /// A string contains U+0000 or half of a surrogate pair, which the databases cannot store.
    Character,
    /// A number is out of the range of a double.
    Number,
    /// The value is nested deeper than [`MAX_DEPTH`].
    Depth,
    TooLong {
        max_chars: usize,
    },
    TooLarge {
        max_bytes: usize,
    },
    /// The value is none of these words.
    UnknownWord(Vec<&'static str>),
    OutOfRange {
        min: i64,
        max: i64,
    },
    /// A rule of this one field, without the final full stop.
    Rule(String),
    /// The field of the inner violation is not known. The names of those that are.
    UnknownField(Vec<String>),
    /// A violation of the field at this path within the value.
    Within(String, Box<Self>),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is required."),
            Self::Null => f.write_str("must not be null."),
            Self::Type(expected) => write!(f, "must be {expected}."),
            Self::Character => f.write_str("contains an invalid character."),
            Self::Number => f.write_str("contains a number that is out of range."),
            Self::Depth => write!(f, "must not be nested deeper than {MAX_DEPTH} levels."),
            Self::TooLong { max_chars } => write!(f, "must not be greater than {max_chars} characters."),
            Self::TooLarge { max_bytes } => write!(f, "must not be greater than {} KB.", max_bytes / 1024),
            Self::UnknownWord(words) => write!(f, "must be one of: {}.", words.join(", ")),
            Self::OutOfRange { min, max } => write!(f, "must be a whole number from {min} to {max}."),
            Self::Rule(rule) => write!(f, "{rule}."),
            Self::UnknownField(known) => write!(f, "is unknown. Known fields: {}.", quoted(known)),
            Self::Within(path, violation) => write!(f, "is invalid: {path} {violation}"),
        }
    }
}

impl Violation {
    pub(super) fn rule(text: impl Into<String>) -> Self {
        Self::Rule(text.into())
    }

    fn within(self, path: impl Into<String>) -> Self {
        Self::Within(path.into(), Box::new(self))
    }

    /// The error of a field, in the words of the envelope `E`.
    pub(super) fn of<E: Envelope>(&self, field: &'static str) -> Error {
        Error::invalid(field, E::field_error(field, self))
    }
}

/// The fields of a JSON object as they were sent; of two with one name the last counts. In an update `null` clears a field, otherwise it
/// counts as absent.
#[derive(Debug, Default)]
pub(super) struct RawFields<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    is_update: bool,
}

impl<'a> RawFields<'a> {
    fn parse(body: &'a [u8], is_update: bool) -> Result<Self, BodyError> {
        Ok(Self { fields: json::read_fields(body)?, is_update })
    }

    /// Checks one field. A violation is recorded, and the value is then absent.
    pub(super) fn check<F: RequestField>(
        &self,
        field: &'static str,
        violations: &mut Vec<(&'static str, Violation)>,
    ) -> Option<F::Value> {
        let raw = self.fields.get(field).copied();
        let checked = if self.is_update { F::read_update(raw) } else { F::read(raw) };
        checked.map_err(|violation| violations.push((field, violation))).ok()
    }

    /// How many of these fields are there, and not null.
    fn count(&self, names: &[&str]) -> usize {
        let given = |name: &&&str| self.fields.get(**name).is_some_and(|value| value.get() != "null");
        names.iter().filter(given).count()
    }
}

/// A request body that [`request!`] declares.
pub(super) trait Request: Sized {
    /// Whether unknown fields are ignored, with `Rejoinder-Warning`, and not refused: the contract of the user lets clients send
    /// more.
    const IGNORES_UNKNOWN_FIELDS: bool;
    /// Whether it is an update, of which at least one field is required.
    const IS_UPDATE: bool;
    /// Fields of which exactly one is required; none for most.
    const CHOICE: &'static [&'static str];
    /// Two optional fields that exclude each other; none for most.
    const EXCLUSIVE: Option<[&'static str; 2]>;
    /// The names of its fields in the contract's order.
    const FIELDS: &'static [&'static str];

    /// Checks every field, and lists all violations in the contract's order.
    fn check(fields: &RawFields<'_>) -> Result<Self, Vec<(&'static str, Violation)>>;
}

/// Reads a request body. Unknown fields and those that are given twice are refused by name; or, if the body may have unknown fields, they
/// are added to `ignored`.
pub(super) fn read<E: Envelope, T: Request>(body: &[u8], ignored: &mut IgnoredNames) -> Result<T, Error> {
    let may_lack_fields =
        E::ACCEPTS_BODY_WITHOUT_FIELDS && (T::IGNORES_UNKNOWN_FIELDS || body.trim_ascii().is_empty());
    let fields = match RawFields::parse(body, T::IS_UPDATE) {
        Ok(fields) => fields,
        Err(_) if may_lack_fields => RawFields::default(),
        Err(error) => return Err(unreadable_body(error)),
    };
    let mut unknown = fields.fields.keys().filter(|name| !T::FIELDS.contains(&name.as_str()));
    if T::IGNORES_UNKNOWN_FIELDS {
        ignored.extend(NameSource::Body, unknown);
    } else if let Some(name) = unknown.next() {
        return Err(unknown_field::<T>(name));
    }
    let checked = T::check(&fields).map_err(|violations| {
        let field_error = |(field, violation)| FieldError { field, text: E::field_error(field, &violation) };
        Error::Invalid(violations.into_iter().map(field_error).collect())
    })?;
    // After the check, which bounds what the fields may contain.
    if !T::IGNORES_UNKNOWN_FIELDS {
        check_duplicates(body)?;
    }
    if T::IS_UPDATE && fields.fields.is_empty() {
        return Err(nothing_to_update::<T>());
    }
    // Besides the one, not even a null: generators make no sensible type of a choice of nullable fields.
    let chosen = T::CHOICE.iter().filter(|name| fields.fields.contains_key(**name)).count();
    if !T::CHOICE.is_empty() && (chosen != 1 || fields.count(T::CHOICE) != 1) {
        let text = format!("Exactly one of the fields {} is required.", quoted(T::CHOICE));
        return Err(Error::invalid("body", text));
    }
    if let Some([one, other]) = T::EXCLUSIVE
        && fields.count(&[one, other]) == 2
    {
        return Err(Violation::rule(format!("must not be given together with '{one}'")).of::<E>(other));
    }
    Ok(checked)
}

fn unknown_field<T: Request>(name: &str) -> Error {
    let known = match T::FIELDS {
        [] => "This route has none".to_owned(),
        names => format!("Known fields: {}", quoted(names)),
    };
    Error::invalid("body", format!("Unknown field '{}'. {known}.", encode_name(name)))
}

/// Refuses a body with two fields of one name, of which a reader would have to guess the one that is meant.
fn check_duplicates(body: &[u8]) -> Result<(), Error> {
    let error =
        |name: String| Err(Error::invalid("body", format!("Field '{}' is given twice.", encode_name(&name))));
    json::find_duplicate(body).map_or(Ok(()), error)
}

/// Reads a request body that is an object with any fields, nulls included.
pub(super) fn read_object<E: Envelope>(body: &[u8]) -> Result<Map<String, Value>, Error> {
    check_duplicates(body)?;
    match json::read_object(body) {
        Ok(checked) => checked.map_err(|violation| violation.of::<E>("body")),
        Err(error) => Err(unreadable_body(error)),
    }
}

fn unreadable_body(error: BodyError) -> Error {
    match error {
        BodyError::NotJson => Error::invalid("body", "Request body is not valid JSON."),
        BodyError::NotAnObject => Error::invalid("body", "Request body must be a JSON object."),
    }
}

/// The error of a body whose first required field is missing or whose first field has a wrong type.
pub(super) fn example_error<E: Envelope, T: Request>() -> Error {
    let first = T::FIELDS.first().copied().unwrap_or_default();
    let wrong_type = format!("{{\"{first}\": []}}");
    let mut ignored = IgnoredNames::default();
    let mut error_of = |body: &[u8]| read::<E, T>(body, &mut ignored).err();
    let error = error_of(b"{}").or_else(|| error_of(wrong_type.as_bytes()));
    error.unwrap_or_else(|| Error::Invalid(Vec::new()))
}

/// The error of an update that changes nothing.
fn nothing_to_update<T: Request>() -> Error {
    Error::invalid("body", format!("One of the fields {} is required.", field_names::<T>()))
}

fn field_names<T: Request>() -> String {
    quoted(T::FIELDS)
}

pub(super) fn quoted<T: fmt::Display>(names: &[T]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// Declares a request body: `field("name in JSON"): type = example`. The struct has the checked values. After the name of the schema,
/// `tolerant` lets it have unknown fields, `update` requires at least one field, `one_of(a, b)` exactly one of those, and `not_both(a, b)`
/// at most one.
macro_rules! request {
    ($(#[doc = $about:literal])+ $vis:vis struct $name:ident as $schema:ident $($rule:ident $(($($choice:ident),+))?)? {
        $($(#[doc = $doc:literal])* $field:ident $(($wire:literal))? : $kind:ty $(= $example:tt)?,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        $vis struct $name {
            $($(#[doc = $doc])* $vis $field: <$kind as $crate::http::fields::RequestField>::Value,)+
        }

        impl $crate::http::fields::Request for $name {
            const IGNORES_UNKNOWN_FIELDS: bool = $crate::http::fields::request!(@tolerant $($rule)?);
            const IS_UPDATE: bool = $crate::http::fields::request!(@update $($rule)?);
            const CHOICE: &'static [&'static str] =
                $crate::http::fields::request!(@one_of $($rule $(($($choice)+))?)?);
            const EXCLUSIVE: Option<[&'static str; 2]> =
                $crate::http::fields::request!(@not_both $($rule $(($($choice)+))?)?);
            const FIELDS: &'static [&'static str] =
                &[$($crate::http::fields::request!(@name $field $($wire)?)),+];

            fn check(
                fields: &$crate::http::fields::RawFields<'_>,
            ) -> Result<Self, Vec<(&'static str, $crate::http::fields::Violation)>> {
                let mut violations = Vec::new();
                $(
                    let $field = fields.check::<$kind>(
                        $crate::http::fields::request!(@name $field $($wire)?),
                        &mut violations,
                    );
                )+
                if let ($(Some($field),)+) = ($($field,)+) { Ok(Self { $($field),+ }) } else { Err(violations) }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::http::fields::object_schema::<Self>(&[$($about),+], [
                    $($crate::http::fields::Property::new::<Self, $kind>(
                        $crate::http::fields::request!(@name $field $($wire)?),
                        &[$($doc),*],
                        [$(serde_json::json!($example))?].into_iter().next(),
                    )),+
                ])
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($schema).into()
            }
        }
    };
    (@tolerant tolerant) => { true };
    (@tolerant $($other:ident)?) => { false };
    (@update update) => { true };
    (@update $($other:ident)?) => { false };
    (@one_of one_of ($($choice:ident)+)) => { &[$(stringify!($choice)),+] };
    (@one_of $($other:tt)*) => { &[] };
    (@not_both not_both ($one:ident $other:ident)) => { Some([stringify!($one), stringify!($other)]) };
    (@not_both $($other:tt)*) => { None };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $wire:literal) => { $wire };
}

pub(super) use request;

/// A field of a request body in the `OpenAPI` document.
pub(super) struct Property {
    name: &'static str,
    is_required: bool,
    schema: Schema,
}

impl Property {
    pub(super) fn new<T: Request, F: RequestField>(
        name: &'static str,
        docs: &[&'static str],
        example: Option<Value>,
    ) -> Self {
        let mut schema = if T::IS_UPDATE { F::update_schema() } else { F::field_schema() };
        if let Schema::Object(object) = &mut schema {
            // An optional id in a sample would name a resource that does not exist.
            object.examples.clear();
        }
        let (about, given) = match &mut schema {
            Schema::Object(object) => (&mut object.description, &mut object.example),
            Schema::Array(array) => (&mut array.description, &mut array.example),
            Schema::OneOf(one_of) => (&mut one_of.description, &mut one_of.example),
            Schema::AllOf(all_of) => (&mut all_of.description, &mut all_of.example),
            Schema::AnyOf(any_of) => (&mut any_of.description, &mut any_of.example),
            // A kind of schema that no field has.
            _ => return Self { name, is_required: F::IS_REQUIRED, schema },
        };
        *about = description(docs).or_else(|| about.take());
        *given = example;
        Self { name, is_required: F::IS_REQUIRED, schema }
    }
}

fn description(lines: &[&str]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    Some(lines.join("\n")).filter(|text| !text.is_empty())
}

/// The schema of a request body.
pub(super) fn object_schema<T: Request>(
    about: &[&str],
    properties: impl IntoIterator<Item = Property>,
) -> RefOr<Schema> {
    let properties: Vec<_> = properties.into_iter().collect();
    if T::CHOICE.is_empty() {
        return RefOr::T(object::<T>(&properties, None).description(description(about)).into());
    }
    let choices = T::CHOICE.iter().map(|choice| object::<T>(&properties, Some(choice)));
    let one_of = OneOfBuilder::new().description(description(about));
    choices.fold(one_of, OneOfBuilder::item).into()
}

/// The object with these properties: all, or those that go with a field which excludes the others of its choice.
fn object<T: Request>(properties: &[Property], choice: Option<&str>) -> ObjectBuilder {
    let mut object = ObjectBuilder::new().schema_type(Type::Object);
    for property in properties {
        let is_chosen = choice == Some(property.name);
        if choice.is_some() && !is_chosen && T::CHOICE.contains(&property.name) {
            continue;
        }
        let schema = property.schema.clone();
        object = object.property(property.name, if is_chosen { without_null(schema) } else { schema });
        if property.is_required || is_chosen {
            object = object.required(property.name);
        }
    }
    if !T::IGNORES_UNKNOWN_FIELDS {
        object = object.additional_properties(Some(AdditionalProperties::FreeForm(false)));
    }
    if T::IS_UPDATE {
        object = object.min_properties(Some(1));
    }
    if let Some(names) = T::EXCLUSIVE {
        let values = names.map(|name| (name.to_owned(), json!({"not": {"type": "null"}})));
        let both = json!({"required": names, "properties": Map::from_iter(values)});
        object = object.extensions(Some(Extensions::from_iter([("not", both)])));
    }
    object
}
