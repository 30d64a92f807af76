//! Lists: the size of a page, and the cursor at which the next one begins. A cursor is opaque to clients: a tag of its list and the
//! position of the last item, in base64.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::clock::{Micros, TimeRange};
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, ConversationId, ResourceId};
use crate::domain::schema::pattern;
use crate::http::describe::error_sets;
use crate::http::envelope::Platform;
use crate::http::fields::{Time, Violation, string_schema};
use crate::service::Services;
use crate::service::resources::{self, Resource};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
const BASE64_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The fields of a filter by metadata.
const MAX_METADATA: usize = 10;
/// The characters of a key or a value in it.
const MAX_METADATA_CHARS: usize = 1000;

/// The query of a list without filters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(in crate::http) limit: Option<String>,
    /// The `next_cursor` of the previous page.
    pub(in crate::http) cursor: Option<String>,
}

error_sets! {
    /// The query of a list.
    InvalidQuery {
        "A query parameter is invalid" => limit(Some("")).err().unwrap_or_else(malformed),
    }
}

/// The number of items that a page may have.
pub(in crate::http) fn limit(text: Option<&str>) -> Result<usize, Error> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "Field 'limit' must be a number from 1 to 200."))
}

/// The parameters of a list with these cursors, for the description of the API.
#[derive(Debug)]
pub(in crate::http) struct PageParams<C>(PhantomData<C>);

impl<C: PartialSchema> IntoParams for PageParams<C> {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = PageQuery::into_params(parameter_in);
        for parameter in parameters.iter_mut().filter(|parameter| parameter.name == "cursor") {
            parameter.schema = Some(C::schema());
        }
        parameters
    }
}

/// Text of a filter in a query: of at most this many characters, which the databases can store.
pub(super) fn text(
    field: &'static str,
    text: Option<&str>,
    max_chars: usize,
) -> Result<Option<String>, Error> {
    let Some(text) = text else { return Ok(None) };
    if text.contains('\0') {
        return Err(Violation::Character.of::<Platform>(field));
    }
    if text.chars().count() > max_chars {
        return Err(Violation::TooLong { max_chars }.of::<Platform>(field));
    }
    Ok(Some(text.to_owned()))
}

/// A filter by metadata.
#[derive(Debug)]
pub(super) enum MetadataFilter {}

impl PartialSchema for MetadataFilter {
    fn schema() -> RefOr<Schema> {
        let text = || string_schema(Some(MAX_METADATA_CHARS));
        let object = ObjectBuilder::new().schema_type(Type::Object).property_names(Some(text()));
        let mut object = object.additional_properties(Some(text())).build();
        object.max_properties = Some(MAX_METADATA);
        object.into()
    }
}

impl ToSchema for MetadataFilter {}

/// The keys and values of a filter by metadata.
pub(super) fn metadata(
    plain: Option<&str>,
    fields: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, Error> {
    if plain.is_some() || fields.len() > MAX_METADATA {
        let rule = format!("must be metadata[KEY]=VALUE, at most {MAX_METADATA} times");
        return Err(Violation::rule(rule).of::<Platform>("metadata"));
    }
    for (key, value) in &fields {
        text("metadata", Some(key.as_str()), MAX_METADATA_CHARS)?;
        text("metadata", Some(value.as_str()), MAX_METADATA_CHARS)?;
    }
    Ok(fields)
}

/// The conversation of a filter. One that does not exist has no items.
pub(super) fn conversation(field: &'static str, text: Option<&str>) -> Result<Option<ConversationId>, Error> {
    let id = text.map(str::parse).transpose();
    id.map_err(|_| Violation::rule("must be an id of the form con_…").of::<Platform>(field))
}

/// A boolean of a query.
pub(super) fn flag(field: &'static str, text: Option<&str>) -> Result<Option<bool>, Error> {
    let flag = text.map(str::parse).transpose();
    flag.map_err(|_| Violation::rule("must be true or false").of::<Platform>(field))
}

/// A range of times of a query, in RFC 3339.
pub(super) fn time_range(
    [(after_field, after), (before_field, before)]: [(&'static str, Option<&str>); 2],
) -> Result<TimeRange, Error> {
    Ok(TimeRange { after: time(after_field, after)?, before: time(before_field, before)? })
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Micros>, Error> {
    let time = text.map(Time::parse).transpose();
    time.map_err(|violation| violation.of::<Platform>(field))
}

/// A position in a list's order.
pub(in crate::http) trait Position: Copy {
    /// Its length in a cursor, in bytes.
    const LENGTH: usize;

    fn write(&self, bytes: &mut Vec<u8>);

    /// Takes a position from the front of the bytes.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

impl Position for i64 {
    const LENGTH: usize = 8;

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }
}

impl Position for Micros {
    const LENGTH: usize = i64::LENGTH;

    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        i64::read(bytes).map(Self)
    }
}

impl<I: ResourceId> Position for I {
    const LENGTH: usize = 16;

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.uuid().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Uuid::from_bytes).map(Self::from_uuid)
    }
}

impl Position for AuditId {
    const LENGTH: usize = 16;

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Uuid::from_bytes).map(Self)
    }
}

/// A time, and the ids of items with the same time.
impl<A: Position, B: Position> Position for (A, B) {
    const LENGTH: usize = A::LENGTH + B::LENGTH;

    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

/// The cursors of the list with this tag, which is ordered by `P`.
#[derive(Debug)]
pub(in crate::http) struct Cursor<P, const TAG: char>(PhantomData<P>);

impl<P: Position, const TAG: char> Cursor<P, TAG> {
    const TAG_BYTE: u8 = TAG as u8;

    pub(in crate::http) fn encode(position: P) -> String {
        let mut bytes = vec![Self::TAG_BYTE];
        position.write(&mut bytes);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor; none before the first page.
    pub(in crate::http) fn decode(cursor: Option<&str>) -> Result<Option<P>, Error> {
        let Some(cursor) = cursor else { return Ok(None) };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
        let mut rest = bytes.strip_prefix(&[Self::TAG_BYTE]).ok_or_else(malformed)?;
        let position = P::read(&mut rest).filter(|_| rest.is_empty());
        position.map(Some).ok_or_else(malformed)
    }
}

impl<I: ResourceId, const TAG: char> Cursor<I, TAG> {
    /// A page of the account's resources, the oldest first, and the cursor of the next page.
    pub(super) async fn read_page<R: Resource<Id = I>>(
        services: &Services,
        account: &Account,
        query: &PageQuery,
    ) -> Result<(Vec<R>, Option<String>), Error> {
        let limit = limit(query.limit.as_deref())?;
        let after = Self::decode(query.cursor.as_deref())?;
        let page = resources::list(services, account, after, limit).await?;
        Ok((page.items, page.next.map(Self::encode)))
    }
}

/// The texts that `decode` accepts: base64 of the tag and of a position of a fixed length, in which the bits after the last byte are 0.
impl<P: Position, const TAG: char> PartialSchema for Cursor<P, TAG> {
    fn schema() -> RefOr<Schema> {
        let mut bytes = vec![Self::TAG_BYTE];
        bytes.resize(1 + P::LENGTH, 0);
        let lowest = BASE64_URL_SAFE_NO_PAD.encode(&bytes);
        bytes[1..].fill(u8::MAX);
        let highest = BASE64_URL_SAFE_NO_PAD.encode(&bytes);
        let spare_bits = (6 - bytes.len() * 8 % 6) % 6;
        let last = lowest.len() - 1;
        let text = lowest.bytes().zip(highest.bytes()).enumerate().map(|(index, (lowest, highest))| {
            let step = if index == last { 1 << spare_bits } else { 1 };
            digit_range(lowest, highest, step)
        });
        let text: Vec<_> = text.collect();
        let runs = text.chunk_by(|one, next| one == next).map(|run| match run {
            [first, _, ..] => format!("{first}{{{}}}", run.len()),
            _ => run.concat(),
        });
        pattern(format!("^{}$", runs.collect::<String>())).into()
    }
}

impl<P: Position, const TAG: char> ToSchema for Cursor<P, TAG> {}

/// The regular expression of a digit from `least` to `most`, of which every `step`th is meant.
fn digit_range(least: u8, most: u8, step: usize) -> String {
    let position = |digit: u8| BASE64_DIGITS.bytes().position(|found| found == digit).unwrap_or(0);
    match (position(least), position(most), step) {
        (least, most, _) if least == most => BASE64_DIGITS[least..=least].to_owned(),
        (0, 63, 1) => "[A-Za-z0-9_-]".to_owned(),
        (least, most, step) => {
            // The hyphen is first, where it means itself.
            let mut digits: Vec<_> = BASE64_DIGITS[least..=most].chars().step_by(step).collect();
            digits.sort_unstable();
            format!("[{}]", digits.into_iter().collect::<String>())
        }
    }
}

fn malformed() -> Error {
    Error::invalid("cursor", "Field 'cursor' is not a cursor of this list.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EndpointId;

    type Ledger = Cursor<i64, 'l'>;
    type Messages = Cursor<i64, 'm'>;
    type Conversations = Cursor<(Micros, ConversationId), 'c'>;
    type Endpoints = Cursor<EndpointId, 'w'>;

    #[test]
    fn a_cursor_decodes_to_its_position() {
        assert_eq!(Ledger::decode(Some(&Ledger::encode(42))).unwrap(), Some(42));
        assert_eq!(Messages::decode(None).unwrap(), None);
        let position = (Micros(-7), ConversationId(Uuid::from_u128(9)));
        let cursor = Conversations::encode(position);
        assert_eq!(Conversations::decode(Some(&cursor)).unwrap(), Some(position));
        let id = EndpointId(Uuid::from_u128(9));
        assert_eq!(Endpoints::decode(Some(&Endpoints::encode(id))).unwrap(), Some(id));
    }

    #[test]
    fn another_lists_cursor_and_garbage_are_refused() {
        let of_ledger = Ledger::encode(42);
        assert!(Messages::decode(Some(&of_ledger)).is_err());
        assert!(Conversations::decode(Some(&of_ledger)).is_err());
        assert!(Endpoints::decode(Some(&of_ledger)).is_err());
        for garbage in ["", "42", "*", "bA", "§"] {
            assert!(Ledger::decode(Some(garbage)).is_err(), "{garbage}");
        }
    }

    #[test]
    fn the_schema_of_a_cursor_accepts_what_decodes() {
        fn accepts<P: Position, const TAG: char>(cursor: &str) -> bool {
            let schema = serde_json::to_value(Cursor::<P, TAG>::schema()).unwrap();
            let is_valid = jsonschema::is_valid(&schema, &cursor.into());
            assert_eq!(is_valid, Cursor::<P, TAG>::decode(Some(cursor)).is_ok(), "{cursor}: {schema}");
            is_valid
        }
        let position = (Micros(-7), ConversationId(Uuid::from_u128(u128::MAX)));
        let (of_ledger, of_conversations) = (Ledger::encode(42), Conversations::encode(position));

        assert!(accepts::<i64, 'l'>(&of_ledger) && !accepts::<i64, 'm'>(&of_ledger));
        assert!(accepts::<(Micros, ConversationId), 'c'>(&of_conversations));
        assert!(accepts::<EndpointId, 'w'>(&Endpoints::encode(EndpointId(Uuid::nil()))));
        let mut other_bits = of_conversations.clone();
        other_bits.replace_range(33.., "x");
        assert!(!accepts::<(Micros, ConversationId), 'c'>(&other_bits));
        for garbage in ["", "42", "*", "bA", &of_ledger[1..], &format!("{of_ledger}A")] {
            assert!(!accepts::<i64, 'l'>(garbage));
        }
    }

    #[test]
    fn times_flags_and_texts_are_checked() {
        let range = time_range([("a", Some("1970-01-01T00:00:01Z")), ("b", None)]).unwrap();
        assert_eq!(range, TimeRange { after: Some(Micros(1_000_000)), before: None });
        for garbage in ["", "2026-03-15", "2026-03-15T14:00:00", "now", "0"] {
            assert!(time_range([("a", None), ("b", Some(garbage))]).is_err(), "{garbage}");
        }
        assert_eq!(flag("f", Some("false")).unwrap(), Some(false));
        assert!(flag("f", Some("1")).is_err());
        assert!(text("t", Some("a\0"), 9).is_err() && text("t", Some("éé"), 1).is_err());
        assert_eq!(text("t", Some("éé"), 2).unwrap().as_deref(), Some("éé"));
        let field = || ("key".to_owned(), "value".to_owned());
        assert_eq!(metadata(None, vec![field()]).unwrap(), [field()]);
        assert!(metadata(Some("x"), Vec::new()).is_err());
        assert!(metadata(None, vec![field(); 11]).is_err());
    }

    #[test]
    fn a_limit_is_between_1_and_200() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!(limit(Some("200")).unwrap(), 200);
        for text in ["0", "201", "-1", "x", ""] {
            assert!(limit(Some(text)).is_err(), "{text}");
        }
    }
}
