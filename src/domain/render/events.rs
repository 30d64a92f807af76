//! The bodies of events.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ConversationOut, MessageOut, json};
use crate::domain::clock::Micros;
use crate::domain::conversation::Conversation;
use crate::domain::event::{Event, EventCursor, EventType};
use crate::domain::ids::{ConversationId, EndpointId, EventId, MessageId, TurnId};
use crate::domain::message::Message;
use crate::domain::money::Money;
use crate::domain::webhook_endpoint::DisabledReason;

/// The data of an event.
#[derive(Debug)]
pub enum EventData<'a> {
    Message(&'a Message),
    /// A conversation, with its first message if it starts with one.
    Conversation(&'a Conversation, Option<&'a Message>),
    NoReply {
        conversation: ConversationId,
        turn: TurnId,
        message: MessageId,
        reason: &'a str,
    },
    Balance {
        balance: Money,
        threshold: Money,
    },
    /// A webhook endpoint, and the reason if it was disabled.
    Endpoint {
        endpoint: EndpointId,
        reason: Option<DisabledReason>,
    },
    /// A conversation that was deleted.
    Deleted(ConversationId),
}

#[derive(Serialize)]
#[serde(untagged)]
enum EventDataOut<'a> {
    Deleted {
        conversation_id: ConversationId,
    },
    Message {
        conversation_id: ConversationId,
        message: MessageOut<'a>,
    },
    Conversation {
        conversation: StartedConversation<'a>,
    },
    NoReply {
        conversation_id: ConversationId,
        turn_id: TurnId,
        reply_to_message_id: MessageId,
        reason: &'a str,
    },
    Balance {
        balance: Money,
        currency: &'static str,
        threshold: Money,
    },
    Endpoint {
        webhook_endpoint_id: EndpointId,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<DisabledReason>,
    },
}

#[derive(Serialize)]
struct StartedConversation<'a> {
    #[serde(flatten)]
    conversation: ConversationOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_message: Option<MessageOut<'a>>,
}

/// An event. The fields of `data` depend on its type.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventOut<'a> {
    #[schema(value_type = String, example = "evt_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: EventId,
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "message.created")]
    kind: EventType,
    #[schema(example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[schema(example = "1042")]
    cursor: String,
    /// Absent after the event's conversation was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    data: Option<EventDataOut<'a>>,
}

/// The body of an event.
#[must_use]
pub fn event(id: EventId, kind: EventType, at: Micros, cursor: i64, data: &EventData<'_>) -> String {
    let data = match *data {
        EventData::Message(message) => {
            EventDataOut::Message { conversation_id: message.conversation, message: message.into() }
        }
        EventData::Conversation(conversation, first) => EventDataOut::Conversation {
            conversation: StartedConversation {
                conversation: conversation.into(),
                first_message: first.map(MessageOut::from),
            },
        },
        EventData::NoReply { conversation, turn, message, reason } => EventDataOut::NoReply {
            conversation_id: conversation,
            turn_id: turn,
            reply_to_message_id: message,
            reason,
        },
        EventData::Balance { balance, threshold } => {
            EventDataOut::Balance { balance, currency: "USD", threshold }
        }
        EventData::Endpoint { endpoint, reason } => {
            EventDataOut::Endpoint { webhook_endpoint_id: endpoint, reason }
        }
        EventData::Deleted(conversation_id) => EventDataOut::Deleted { conversation_id },
    };
    json(&EventOut { id, kind, created_at: at.to_string(), cursor: cursor.to_string(), data: Some(data) })
}

/// The stored body of an event, whose cursor is its number alone, as it is sent: with the cursor of the store's epoch.
#[must_use]
pub fn with_epoch(body: String, cursor: EventCursor) -> String {
    if cursor.epoch == 0 {
        return body;
    }
    // It comes before `data`, so the first one is the event's own.
    body.replacen(&format!(r#""cursor":"{}""#, cursor.number), &format!(r#""cursor":"{cursor}""#), 1)
}

/// The body of an event of a deleted conversation: without `data`, except for the deletion itself, which names the
/// conversation.
#[must_use]
pub fn redacted_event(event: &Event) -> String {
    let deleted = event.conversation.filter(|_| event.kind == EventType::ConversationDeleted);
    json(&EventOut {
        id: event.id,
        kind: event.kind,
        created_at: event.created_at.to_string(),
        cursor: event.cursor.to_string(),
        data: deleted.map(|conversation_id| EventDataOut::Deleted { conversation_id }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_an_event_gets_the_epoch_and_its_data_stays() {
        let body =
            r#"{"id":"evt_1","type":"message.created","cursor":"4","data":{"metadata":{"cursor":"4"}}}"#;
        let with = |epoch| with_epoch(body.to_owned(), EventCursor { epoch, number: 4 });

        assert_eq!(with(0), body);
        assert_eq!(with(17), body.replacen("\"4\"", "\"17-4\"", 1));
    }
}
