//! The platform door's checks of what is sent, field by field in the contract's order.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::{ChangeIn, ConversationIn, ConversationsQuery, MessageIn};
use crate::domain::batch::Change;
use crate::domain::conversation::{ConversationKind, SenderType};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, WidgetUuid};
use crate::http::fields::{DEEPEST, Field, Flaw, NoFields, object, read_fields, text, truth};
use crate::service::accept_message::AcceptMessage;
use crate::service::list_conversations::Wanted;

const LONGEST_TEXT: usize = 10_000;
/// Of a `sender_id` or an `external_identifier`, in characters.
const LONGEST_NAME: usize = 255;
/// Of `metadata` or `variables`, in bytes as they were sent.
const LARGEST_OBJECT: usize = 16 * 1024;

/// The fields of [`ChangeIn`].
const CHANGEABLE: [&str; 3] = ["ai_enabled", "metadata", "ended"];

/// The fields of a body.
pub(super) fn fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    read_fields(body).map_err(|none| match none {
        NoFields::NotJson => Error::invalid("body", "Request body is not valid JSON."),
        NoFields::NotAnObject => Error::invalid("body", "Request body must be a JSON object."),
    })
}

/// A message, without its idempotency key.
pub(super) fn message(sent: MessageIn) -> Result<AcceptMessage, Error> {
    Ok(AcceptMessage {
        conversation_id: optional_text("conversation_id", sent.conversation_id)?,
        sender_id: short_text("sender_id", sent.sender_id)?.ok_or_else(|| required("sender_id"))?,
        sender_type: sender_type(sent.sender_type)?,
        text: message_text(sent.text)?,
        reply_to_message_id: optional_text("reply_to_message_id", sent.reply_to_message_id)?,
        metadata: metadata(sent.metadata)?,
        auto_reply: flag("auto_reply", sent.auto_reply)?,
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

pub(super) fn conversation(sent: ConversationIn) -> Result<NewConversation, Error> {
    let assistant = optional_text("assistant_id", sent.assistant_id)?;
    let assistant = assistant.ok_or_else(|| required("assistant_id"))?;
    Ok(NewConversation {
        assistant: assistant_id(&assistant)?,
        kind: match optional_text("type", sent.kind)? {
            Some(word) => kind(&word)?,
            None => ConversationKind::Api,
        },
        variables: match sent.variables {
            Some(sent) => free_object("variables", &sent)?,
            None => Map::new(),
        },
        external_identifier: short_text("external_identifier", sent.external_identifier)?,
        metadata: metadata(sent.metadata)?,
    })
}

/// What is to change in a conversation. Here a field that is not known is refused: a change must not
/// be dropped in silence.
pub(super) fn change(body: &[u8]) -> Result<Change, Error> {
    refuse_others(body, &CHANGEABLE)?;
    let sent: ChangeIn = fields(body)?;
    let change = Change {
        ai_enabled: flag("ai_enabled", sent.ai_enabled)?,
        metadata: metadata(sent.metadata)?,
        ends: match flag("ended", sent.ended)? {
            Some(false) => return Err(invalid("ended", "can only be true: an end is for good.")),
            ended => ended.is_some(),
        },
    };
    if change == Change::default() {
        let text = "One of the fields 'ai_enabled', 'metadata', 'ended' is required.";
        return Err(Error::invalid("body", text));
    }
    Ok(change)
}

/// Refuses a change of a field that cannot be changed.
pub(super) fn refuse_others(body: &[u8], changeable: &[&str]) -> Result<(), Error> {
    let all: BTreeMap<String, Field> = fields(body)?;
    let is_other =
        |(name, field): &(&String, &Field)| field.is_some() && !changeable.contains(&name.as_str());
    match all.iter().find(is_other) {
        Some((name, _)) => Err(Error::invalid("body", format!("Field '{name}' cannot be changed."))),
        None => Ok(()),
    }
}

/// Which conversations a query asks for, but for the page.
pub(super) fn wanted(query: &ConversationsQuery) -> Result<Wanted, Error> {
    let widget = query.widget_uuid.as_deref().map(|text| {
        let uuid = Uuid::try_parse(text).map_err(|_| invalid("widget_uuid", "must be a UUID."));
        uuid.map(WidgetUuid)
    });
    Ok(Wanted {
        kind: query.kind.as_deref().map(kind).transpose()?,
        assistant: query.assistant_id.as_deref().map(assistant_id).transpose()?,
        external_identifier: query.external_identifier.as_deref().map(searched).transpose()?,
        widget: widget.transpose()?,
        after: None,
    })
}

fn searched(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(invalid("external_identifier", "contains an invalid character."));
    }
    Ok(text.to_owned())
}

pub(super) fn invalid(field: &'static str, flaw: &str) -> Error {
    Error::invalid(field, format!("Field '{field}' {flaw}"))
}

pub(super) fn required(field: &'static str) -> Error {
    invalid(field, "is required.")
}

/// What is to be mended; `wanted` says which type the field is of.
pub(super) fn flawed(field: &'static str, flaw: Flaw, wanted: &str) -> Error {
    match flaw {
        Flaw::Type => invalid(field, wanted),
        Flaw::Character => invalid(field, "contains an invalid character."),
        Flaw::Number => invalid(field, "contains a number that is out of range."),
        Flaw::Depth => invalid(field, &format!("must not be nested deeper than {DEEPEST} levels.")),
    }
}

fn checked_text(field: &'static str, sent: &RawValue) -> Result<String, Error> {
    text(sent).map_err(|flaw| flawed(field, flaw, "must be a string."))
}

pub(super) fn optional_text(field: &'static str, sent: Field) -> Result<Option<String>, Error> {
    sent.map(|sent| checked_text(field, &sent)).transpose()
}

/// A text of at most 255 characters; a blank one counts as absent.
pub(super) fn short_text(field: &'static str, sent: Field) -> Result<Option<String>, Error> {
    let Some(text) = optional_text(field, sent)? else { return Ok(None) };
    if text.chars().count() > LONGEST_NAME {
        return Err(invalid(field, "must not be greater than 255 characters."));
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// The text, untouched.
fn message_text(sent: Field) -> Result<String, Error> {
    let text = optional_text("text", sent)?.ok_or_else(|| required("text"))?;
    if text.trim().is_empty() {
        return Err(required("text"));
    }
    if text.chars().count() > LONGEST_TEXT {
        return Err(invalid("text", "must not be greater than 10000 characters."));
    }
    Ok(text)
}

fn sender_type(sent: Field) -> Result<SenderType, Error> {
    let sent = sent.ok_or_else(|| required("sender_type"))?;
    match text(&sent).as_deref() {
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
fn metadata(sent: Field) -> Result<Option<String>, Error> {
    let Some(sent) = sent else { return Ok(None) };
    free_object("metadata", &sent)?;
    Ok(Some(sent.get().to_owned()))
}

fn free_object(field: &'static str, sent: &RawValue) -> Result<Map<String, Value>, Error> {
    if sent.get().starts_with('{') && sent.get().len() > LARGEST_OBJECT {
        return Err(invalid(field, "must not be greater than 16 KB."));
    }
    object(sent).map_err(|flaw| flawed(field, flaw, "must be an object."))
}

pub(super) fn flag(field: &'static str, sent: Field) -> Result<Option<bool>, Error> {
    let flag = sent.map(|sent| truth(&sent)).transpose();
    flag.map_err(|_| invalid(field, "must be a boolean."))
}
