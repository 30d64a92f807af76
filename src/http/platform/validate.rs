//! The platform door's checks of what is sent, field by field in the contract's order.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::{ConversationIn, ConversationUpdateIn, ConversationsQuery, MessageIn};
use crate::domain::conversation::{ConversationKind, ConversationPatch, SenderType};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, WidgetUuid};
use crate::http::fields::{
    BodyError, Field, FieldErrorKind, MAX_DEPTH, boolean, object, read_fields, string,
};
use crate::service::accept_message::AcceptMessage;
use crate::service::list_conversations::ConversationFilter;

const MAX_TEXT_CHARS: usize = 10_000;
/// Of a `sender_id` or an `external_identifier`, in characters.
const MAX_NAME_CHARS: usize = 255;
/// Of `metadata` or `variables`, in bytes as they were sent.
const MAX_OBJECT_BYTES: usize = 16 * 1024;

/// The fields of [`ConversationUpdateIn`].
const UPDATABLE: [&str; 3] = ["ai_enabled", "metadata", "ended"];

/// The fields of a body.
pub(super) fn fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    read_fields(body).map_err(|error| match error {
        BodyError::NotJson => Error::invalid("body", "Request body is not valid JSON."),
        BodyError::NotAnObject => Error::invalid("body", "Request body must be a JSON object."),
    })
}

/// A message, without its idempotency key.
pub(super) fn message(input: MessageIn) -> Result<AcceptMessage, Error> {
    Ok(AcceptMessage {
        conversation_id: optional_text("conversation_id", input.conversation_id)?,
        sender_id: short_text("sender_id", input.sender_id)?.ok_or_else(|| required("sender_id"))?,
        sender_type: sender_type(input.sender_type)?,
        text: message_text(input.text)?,
        reply_to_message_id: optional_text("reply_to_message_id", input.reply_to_message_id)?,
        metadata: metadata(input.metadata)?,
        auto_reply: flag("auto_reply", input.auto_reply)?,
        idempotency: None,
    })
}

/// A conversation to be made.
#[derive(Debug)]
pub(super) struct NewConversation {
    pub(super) assistant: AssistantId,
    pub(super) kind: ConversationKind,
    pub(super) variables: Map<String, Value>,
    pub(super) external_identifier: Option<String>,
    pub(super) metadata: Option<String>,
}

pub(super) fn conversation(input: ConversationIn) -> Result<NewConversation, Error> {
    let assistant = optional_text("assistant_id", input.assistant_id)?;
    let assistant = assistant.ok_or_else(|| required("assistant_id"))?;
    Ok(NewConversation {
        assistant: assistant_id(&assistant)?,
        kind: match optional_text("type", input.kind)? {
            Some(word) => kind(&word)?,
            None => ConversationKind::Api,
        },
        variables: match input.variables {
            Some(input) => freeform_object("variables", &input)?,
            None => Map::new(),
        },
        external_identifier: short_text("external_identifier", input.external_identifier)?,
        metadata: metadata(input.metadata)?,
    })
}

/// What is to change in a conversation. Here a field that is not known is refused: a change must not
/// be dropped in silence.
pub(super) fn update(body: &[u8]) -> Result<ConversationPatch, Error> {
    reject_unknown_fields(body, &UPDATABLE)?;
    let input: ConversationUpdateIn = fields(body)?;
    let update = ConversationPatch {
        ai_enabled: flag("ai_enabled", input.ai_enabled)?,
        metadata: metadata(input.metadata)?,
        ends: match flag("ended", input.ended)? {
            Some(false) => return Err(invalid("ended", "can only be true: an end is for good.")),
            ended => ended.is_some(),
        },
    };
    if update == ConversationPatch::default() {
        let text = "One of the fields 'ai_enabled', 'metadata', 'ended' is required.";
        return Err(Error::invalid("body", text));
    }
    Ok(update)
}

/// Refuses a change of a field that cannot be changed.
pub(super) fn reject_unknown_fields(body: &[u8], updatable: &[&str]) -> Result<(), Error> {
    let all: BTreeMap<String, Field> = fields(body)?;
    let is_unknown =
        |(name, field): &(&String, &Field)| field.is_some() && !updatable.contains(&name.as_str());
    match all.iter().find(is_unknown) {
        Some((name, _)) => Err(Error::invalid("body", format!("Field '{name}' cannot be changed."))),
        None => Ok(()),
    }
}

/// Which conversations a query asks for, but for the page.
pub(super) fn conversation_filter(query: &ConversationsQuery) -> Result<ConversationFilter, Error> {
    let widget = query.widget_uuid.as_deref().map(|text| {
        let uuid = Uuid::try_parse(text).map_err(|_| invalid("widget_uuid", "must be a UUID."));
        uuid.map(WidgetUuid)
    });
    Ok(ConversationFilter {
        kind: query.kind.as_deref().map(kind).transpose()?,
        assistant: query.assistant_id.as_deref().map(assistant_id).transpose()?,
        external_identifier: query.external_identifier.as_deref().map(external_identifier).transpose()?,
        widget: widget.transpose()?,
        after: None,
    })
}

fn external_identifier(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(invalid("external_identifier", "contains an invalid character."));
    }
    Ok(text.to_owned())
}

pub(super) fn invalid(field: &'static str, message: &str) -> Error {
    Error::invalid(field, format!("Field '{field}' {message}"))
}

pub(super) fn required(field: &'static str) -> Error {
    invalid(field, "is required.")
}

/// What is to be mended; `expected` says which type the field is of.
pub(super) fn invalid_field(field: &'static str, kind: FieldErrorKind, expected: &str) -> Error {
    match kind {
        FieldErrorKind::Type => invalid(field, expected),
        FieldErrorKind::Character => invalid(field, "contains an invalid character."),
        FieldErrorKind::Number => invalid(field, "contains a number that is out of range."),
        FieldErrorKind::Depth => {
            invalid(field, &format!("must not be nested deeper than {MAX_DEPTH} levels."))
        }
    }
}

fn checked_text(field: &'static str, input: &RawValue) -> Result<String, Error> {
    string(input).map_err(|kind| invalid_field(field, kind, "must be a string."))
}

pub(super) fn optional_text(field: &'static str, input: Field) -> Result<Option<String>, Error> {
    input.map(|input| checked_text(field, &input)).transpose()
}

/// A text of at most 255 characters; a blank one counts as absent.
pub(super) fn short_text(field: &'static str, input: Field) -> Result<Option<String>, Error> {
    let Some(text) = optional_text(field, input)? else { return Ok(None) };
    if text.chars().count() > MAX_NAME_CHARS {
        return Err(invalid(field, "must not be greater than 255 characters."));
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// The text, untouched.
fn message_text(input: Field) -> Result<String, Error> {
    let text = optional_text("text", input)?.ok_or_else(|| required("text"))?;
    if text.trim().is_empty() {
        return Err(required("text"));
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(invalid("text", "must not be greater than 10000 characters."));
    }
    Ok(text)
}

fn sender_type(input: Field) -> Result<SenderType, Error> {
    let input = input.ok_or_else(|| required("sender_type"))?;
    match string(&input).as_deref() {
        Ok("user") => Ok(SenderType::User),
        Ok("agent") => Ok(SenderType::Agent),
        Ok("system") => Ok(SenderType::System),
        Ok(_) | Err(_) => Err(invalid("sender_type", "must be one of: user, agent, system.")),
    }
}

fn kind(word: &str) -> Result<ConversationKind, Error> {
    word.parse().map_err(|_| invalid("type", "must be one of: widget, test, api."))
}

/// An `ast_…` id, or the UUID in it, as the widget door names it.
fn assistant_id(text: &str) -> Result<AssistantId, Error> {
    let uuid = Uuid::try_parse(text).map(AssistantId).ok();
    let id = text.parse().ok().or(uuid);
    id.ok_or_else(|| invalid("assistant_id", "must be an id of the form ast_…, or a UUID."))
}

/// The JSON text of an object, in the order in which it was sent.
fn metadata(input: Field) -> Result<Option<String>, Error> {
    let Some(input) = input else { return Ok(None) };
    freeform_object("metadata", &input)?;
    Ok(Some(input.get().to_owned()))
}

fn freeform_object(field: &'static str, input: &RawValue) -> Result<Map<String, Value>, Error> {
    if input.get().starts_with('{') && input.get().len() > MAX_OBJECT_BYTES {
        return Err(invalid(field, "must not be greater than 16 KB."));
    }
    object(input).map_err(|kind| invalid_field(field, kind, "must be an object."))
}

pub(super) fn flag(field: &'static str, input: Field) -> Result<Option<bool>, Error> {
    let flag = input.map(|input| boolean(&input)).transpose();
    flag.map_err(|_| invalid(field, "must be a boolean."))
}
