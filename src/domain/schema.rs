//! Schemas of values that the APIs share, for the `OpenAPI` document.

use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::event::EventType;
use super::failure::{Discard, Failure};
use super::ids::id_pattern;
use super::tool::TOOL_KINDS;

/// The schema of a string that matches a regular expression, in the syntax that ECMA 262, Python and Rust share.
#[must_use]
pub fn pattern(pattern: impl Into<String>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

/// White space, which [`str::trim`] removes, for a class of a regular expression. `\s` has other characters in each dialect.
pub const BLANK: &str = r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";

/// The schema of a string that is not blank, and that the databases store.
#[must_use]
pub fn not_blank() -> ObjectBuilder {
    pattern(format!(r"^[^\u0000]*[^\u0000{BLANK}][^\u0000]*$"))
}

/// The schema of a string in a format that no regular expression tells exactly.
#[must_use]
pub fn formatted(format: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom(format.to_owned())))
}

/// The schema of a closed set of words.
#[must_use]
pub fn words(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

/// A day, such as 2026-03-15.
#[derive(Debug)]
pub enum Date {}

impl PartialSchema for Date {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Date);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Date {}

/// The origin of a web page as browsers send it, such as `https://www.example.com`.
#[derive(Debug)]
pub enum Origin {}

impl PartialSchema for Origin {
    fn schema() -> RefOr<Schema> {
        formatted("origin").into()
    }
}

impl ToSchema for Origin {}

/// The kind of a tool.
#[derive(Debug)]
pub enum ToolKind {}

impl PartialSchema for ToolKind {
    fn schema() -> RefOr<Schema> {
        words(TOOL_KINDS).description(Some("The kind of a tool.")).examples(["webhook"]).into()
    }
}

impl ToSchema for ToolKind {}

/// Why a turn has no reply: it failed, or its reply was discarded.
#[derive(Debug)]
pub enum TurnReason {}

impl PartialSchema for TurnReason {
    fn schema() -> RefOr<Schema> {
        let failures = Failure::ALL.iter().map(|failure| failure.as_str());
        let mut reasons: Vec<_> = failures.collect();
        for discard in Discard::ALL {
            if !reasons.contains(&discard.as_str()) {
                reasons.push(discard.as_str());
            }
        }
        words(reasons)
            .description(Some("Why a turn has no reply: it failed, or its reply was discarded."))
            .into()
    }
}

impl ToSchema for TurnReason {}

/// The hyphenated form of a UUID, as a regular expression without anchors.
pub const UUID: &str = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}";

/// An assistant by its `ast_…` id or its UUID.
#[derive(Debug)]
pub enum AssistantIdOrUuid {}

impl PartialSchema for AssistantIdOrUuid {
    fn schema() -> RefOr<Schema> {
        pattern(format!("^({}|{UUID})$", id_pattern!("ast"))).into()
    }
}

impl ToSchema for AssistantIdOrUuid {}

/// A cursor of the event feed, as a regular expression without anchors.
pub const EVENT_CURSOR: &str = "[0-9]{1,18}(-[0-9]{1,18})?";

/// The cursor or the id of an event, or `latest`.
#[derive(Debug)]
pub enum EventPosition {}

impl PartialSchema for EventPosition {
    fn schema() -> RefOr<Schema> {
        pattern(format!("^(latest|{EVENT_CURSOR}|{})$", id_pattern!("evt"))).into()
    }
}

impl ToSchema for EventPosition {}

/// The id of a frame of a conversation's stream, or `latest`.
#[derive(Debug)]
pub enum FramePosition {}

impl PartialSchema for FramePosition {
    fn schema() -> RefOr<Schema> {
        pattern(concat!("^(latest|", id_pattern!("evt"), ")$")).into()
    }
}

impl ToSchema for FramePosition {}

/// [`FramePosition`] in the header `Last-Event-ID`. A client that has received no frame may send an empty value.
#[derive(Debug)]
pub enum LastFrameId {}

impl PartialSchema for LastFrameId {
    fn schema() -> RefOr<Schema> {
        pattern(concat!("^(latest|", id_pattern!("evt"), ")?$")).into()
    }
}

impl ToSchema for LastFrameId {}

/// The header `Last-Event-ID` of a stream whose frames have such ids. A client that has received no event may send an empty value.
#[derive(Debug)]
pub enum LastEventId {}

impl PartialSchema for LastEventId {
    fn schema() -> RefOr<Schema> {
        pattern(format!("^(latest|{EVENT_CURSOR})?$")).into()
    }
}

impl ToSchema for LastEventId {}

/// Types of events, separated by commas.
#[derive(Debug)]
pub enum EventTypeList {}

impl PartialSchema for EventTypeList {
    fn schema() -> RefOr<Schema> {
        let words: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str().replace('.', r"\.")).collect();
        let word = format!(" *({}) *", words.join("|"));
        pattern(format!("^{word}(,{word})*$")).into()
    }
}

impl ToSchema for EventTypeList {}

/// A day, or a time on a quarter of an hour.
#[derive(Debug)]
pub enum DayOrQuarterText {}

impl PartialSchema for DayOrQuarterText {
    fn schema() -> RefOr<Schema> {
        formatted("day-or-quarter").into()
    }
}

impl ToSchema for DayOrQuarterText {}

/// A time zone of the IANA database.
#[derive(Debug)]
pub enum TimeZoneName {}

impl PartialSchema for TimeZoneName {
    fn schema() -> RefOr<Schema> {
        formatted("time-zone").into()
    }
}

impl ToSchema for TimeZoneName {}

/// A day or a time.
#[derive(Debug)]
pub enum DayOrTimeText {}

impl PartialSchema for DayOrTimeText {
    fn schema() -> RefOr<Schema> {
        let of = |format| {
            let format = SchemaFormat::KnownFormat(format);
            ObjectBuilder::new().schema_type(Type::String).format(Some(format))
        };
        AnyOfBuilder::new().item(of(KnownFormat::Date)).item(of(KnownFormat::DateTime)).into()
    }
}

impl ToSchema for DayOrTimeText {}
