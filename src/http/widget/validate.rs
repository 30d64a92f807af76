//! The widget door's checks of what is sent, in the words of Laravel's validator.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::{ConversationIn, HistoryQuery, MessageIn};
use crate::domain::conversation::ConversationKind;
use crate::domain::error::{Error, FieldError, ResourceKind};
use crate::domain::ids::{AssistantId, WidgetUuid};
use crate::http::fields::{FieldErrorKind, MAX_DEPTH, object, read_fields, string};

/// The longest message, in Unicode scalar values.
const MAX_MESSAGE_CHARS: usize = 2_000;
/// The most messages that one answer shows.
const MAX_HISTORY: usize = 200;
/// The largest set of variables, in bytes of JSON.
const MAX_VARIABLES_BYTES: usize = 16 * 1024;

/// A conversation's UUID, hyphenated; another text is a conversation that there is not.
pub(super) fn link(name: &str) -> Result<WidgetUuid, Error> {
    let uuid = uuid(name).ok_or_else(|| Error::not_found(ResourceKind::Conversation, name))?;
    Ok(WidgetUuid(uuid))
}

fn uuid(text: &str) -> Option<Uuid> {
    // The parser takes forms without hyphens, in braces and as URNs, too.
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// The text of a message, trimmed.
pub(super) fn message(body: &[u8]) -> Result<String, Error> {
    let invalid = |text: &str| Error::invalid("message", text);
    let required = || invalid("The message field is required.");
    // A body that is no JSON object has no message.
    let fields: MessageIn = read_fields(body).map_err(|_| required())?;
    let input = string(&fields.message.ok_or_else(required)?)
        .map_err(|kind| invalid(&describe("message", kind, "a string")))?;
    let trimmed = input.trim();
    if trimmed.is_empty() {
        return Err(required());
    }
    if trimmed.chars().count() > MAX_MESSAGE_CHARS {
        return Err(invalid("The message field must not be greater than 2000 characters."));
    }
    Ok(trimmed.to_owned())
}

/// A conversation to be made, as a visitor may ask for it.
#[derive(Debug)]
pub(super) struct NewConversation {
    pub(super) assistant: AssistantId,
    pub(super) kind: ConversationKind,
    pub(super) variables: Map<String, Value>,
}

/// Says of every field at once what is to be mended.
pub(super) fn conversation(body: &[u8]) -> Result<NewConversation, Error> {
    // A body that is no JSON object has no fields.
    let fields: ConversationIn = read_fields(body).unwrap_or_default();
    let mut errors = Vec::new();
    let mut record = |error: FieldError| errors.push(error);
    let assistant = assistant(&fields).map_err(&mut record).ok();
    let kind = kind(&fields).map_err(&mut record).ok();
    let variables = variables(&fields).map_err(&mut record).ok();
    match (assistant, kind, variables) {
        (Some(assistant), Some(kind), Some(variables)) => Ok(NewConversation { assistant, kind, variables }),
        _ => Err(Error::Invalid(errors)),
    }
}

fn field_error(field: &'static str, text: &str) -> FieldError {
    FieldError { field, text: text.to_owned() }
}

/// What is to be mended in a field that is to be `expected`.
fn describe(field: &str, kind: FieldErrorKind, expected: &str) -> String {
    match kind {
        FieldErrorKind::Type => format!("The {field} field must be {expected}."),
        FieldErrorKind::Character => format!("The {field} field contains an invalid character."),
        FieldErrorKind::Number => format!("The {field} field contains a number that is out of range."),
        FieldErrorKind::Depth => {
            format!("The {field} field must not be nested deeper than {MAX_DEPTH} levels.")
        }
    }
}

fn assistant(fields: &ConversationIn) -> Result<AssistantId, FieldError> {
    let field_error = |text| field_error("assistant_id", text);
    let field = fields.assistant_id.as_ref();
    let field = field.ok_or_else(|| field_error("The assistant id field is required."))?;
    let name = string(field).map_err(|_| field_error("The assistant id field must be a valid UUID."))?;
    if name.trim().is_empty() {
        return Err(field_error("The assistant id field is required."));
    }
    let uuid = uuid(&name).ok_or_else(|| field_error("The assistant id field must be a valid UUID."))?;
    Ok(AssistantId(uuid))
}

fn kind(fields: &ConversationIn) -> Result<ConversationKind, FieldError> {
    let Some(field) = &fields.kind else { return Ok(ConversationKind::Widget) };
    match string(field).as_deref() {
        Ok("widget") => Ok(ConversationKind::Widget),
        Ok("test") => Ok(ConversationKind::Test),
        Ok(_) | Err(_) => Err(field_error("type", "The selected type is invalid.")),
    }
}

fn variables(fields: &ConversationIn) -> Result<Map<String, Value>, FieldError> {
    let field_error = |text: &str| field_error("variables", text);
    let Some(field) = &fields.variables else { return Ok(Map::new()) };
    if field.get().len() > MAX_VARIABLES_BYTES {
        return Err(field_error("The variables field must not be greater than 16 kilobytes."));
    }
    object(field).map_err(|kind| field_error(&describe("variables", kind, "an object")))
}

/// How many messages a history is to show.
pub(super) fn limit(query: &HistoryQuery) -> Result<usize, Error> {
    let Some(text) = &query.limit else { return Ok(MAX_HISTORY) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_HISTORY).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "The limit field must be between 1 and 200."))
}
