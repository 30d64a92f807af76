//! The bodies of events.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    Discriminator, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::{ConversationOut, MessageOut, json};
use crate::domain::clock::Micros;
use crate::domain::conversation::Conversation;
use crate::domain::event::{Event, EventCursor, EventType};
use crate::domain::ids::{ConversationId, EndpointId, EventId, MessageId, TurnId};
use crate::domain::message::{Feedback, Message, Rating};
use crate::domain::money::{Currency, Money};
use crate::domain::schema::{EVENT_CURSOR, TurnReason, pattern, words};
use crate::domain::webhook_endpoint::DisabledReason;

/// The data of an event.
#[derive(Debug)]
pub enum EventData<'a> {
    Message(&'a Message),
    /// A conversation, with its first message if it starts with one.
    Conversation(&'a Conversation, Option<&'a Message>),
    /// A visitor's rating of a message; none if it was withdrawn.
    Feedback {
        conversation: ConversationId,
        message: MessageId,
        feedback: Option<&'a Feedback>,
    },
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
    Deleted(DeletedConversation),
    Message(EventMessage<'a>),
    Conversation(EventConversation<'a>),
    Feedback(EventFeedback<'a>),
    NoReply(NoReply<'a>),
    Balance(LowBalance),
    Endpoint(EventEndpoint),
}

/// The data of an event about a deleted conversation.
#[derive(Serialize, ToSchema)]
struct DeletedConversation {
    conversation_id: ConversationId,
}

/// The data of an event about a message.
#[derive(Serialize, ToSchema)]
struct EventMessage<'a> {
    conversation_id: ConversationId,
    message: MessageOut<'a>,
}

/// The data of an event about a conversation.
#[derive(Serialize, ToSchema)]
struct EventConversation<'a> {
    conversation: StartedConversation<'a>,
}

/// The data of an event about a visitor's rating.
#[derive(Serialize, ToSchema)]
struct EventFeedback<'a> {
    conversation_id: ConversationId,
    message_id: MessageId,
    /// Null if the rating was withdrawn.
    #[schema(required)]
    rating: Option<Rating>,
    /// Null without a comment.
    #[schema(required, max_length = 1000)]
    comment: Option<&'a str>,
}

/// The data of an event about a turn without a reply.
#[derive(Serialize, ToSchema)]
struct NoReply<'a> {
    conversation_id: ConversationId,
    turn_id: TurnId,
    reply_to_message_id: MessageId,
    #[schema(value_type = TurnReason)]
    reason: &'a str,
}

/// The data of an event about the balance.
#[derive(Serialize, ToSchema)]
struct LowBalance {
    balance: Money,
    currency: Currency,
    threshold: Money,
}

/// The data of an event about a webhook endpoint.
#[derive(Serialize, ToSchema)]
struct EventEndpoint {
    webhook_endpoint_id: EndpointId,
    /// Why it was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DisabledReason>,
}

/// A conversation, with its first message if it starts with one.
#[derive(Serialize, ToSchema)]
struct StartedConversation<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    conversation: ConversationOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_message: Option<MessageOut<'a>>,
}

/// An event. The fields of `data` depend on its type.
#[derive(Serialize)]
pub struct EventOut<'a> {
    id: EventId,
    #[serde(rename = "type")]
    kind: EventType,
    created_at: String,
    cursor: String,
    /// Absent after the event's conversation was deleted, if [`loses_data`].
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<EventDataOut<'a>>,
}

/// The name of the schema of events of this type.
#[must_use]
pub fn variant_name(kind: EventType) -> String {
    let capitalized = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    let words = kind.as_str().split(['.', '_']).map(capitalized);
    words.collect::<String>() + "Event"
}

/// The type of the data of an event, with the schemas that it needs.
fn data_schema(kind: EventType, schemas: &mut Vec<(String, RefOr<Schema>)>) -> Ref {
    fn named<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) -> Ref {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
        Ref::from_schema_name(T::name())
    }
    match kind {
        EventType::ConversationCreated | EventType::ConversationUpdated | EventType::ConversationEnded => {
            named::<EventConversation<'_>>(schemas)
        }
        EventType::ConversationDeleted => named::<DeletedConversation>(schemas),
        EventType::MessageCreated => named::<EventMessage<'_>>(schemas),
        EventType::MessageFeedback => named::<EventFeedback<'_>>(schemas),
        EventType::ReplyFailed | EventType::ReplyDiscarded => named::<NoReply<'_>>(schemas),
        EventType::BalanceLow => named::<LowBalance>(schemas),
        EventType::WebhookEndpointDisabled | EventType::WebhookEndpointTest => {
            named::<EventEndpoint>(schemas)
        }
    }
}

/// Whether events of this type lose their data when their conversation is deleted.
fn loses_data(kind: EventType) -> bool {
    match kind {
        EventType::ConversationCreated
        | EventType::ConversationUpdated
        | EventType::ConversationEnded
        | EventType::MessageCreated
        | EventType::MessageFeedback
        | EventType::ReplyFailed
        | EventType::ReplyDiscarded => true,
        EventType::ConversationDeleted
        | EventType::BalanceLow
        | EventType::WebhookEndpointDisabled
        | EventType::WebhookEndpointTest => false,
    }
}

/// The schema of events of one type.
fn variant_schema(kind: EventType, mut data: Ref) -> Schema {
    let time = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let time = ObjectBuilder::new().schema_type(Type::String).format(Some(time));
    let cursor = pattern(format!("^{EVENT_CURSOR}$")).examples(["1042"]);
    if loses_data(kind) {
        "Absent after the event's conversation was deleted.".clone_into(&mut data.description);
    }
    let event = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(format!("An event of the type `{}`.", kind.as_str())))
        .property("id", Ref::from_schema_name(EventId::name()))
        .property("type", words([kind.as_str()]))
        .property("created_at", time.examples(["2026-03-15T14:22:11Z"]))
        .property("cursor", cursor)
        .property("data", data);
    let required = ["id", "type", "created_at", "cursor"].into_iter();
    let required = required.chain((!loses_data(kind)).then_some("data"));
    required.fold(event, ObjectBuilder::required).into()
}

/// One variant for each type.
impl PartialSchema for EventOut<'_> {
    fn schema() -> RefOr<Schema> {
        let variants =
            EventType::ALL.iter().map(|kind| (kind.as_str(), Ref::from_schema_name(variant_name(*kind))));
        let mapping = variants.clone().map(|(word, variant)| (word, variant.ref_location));
        let union = OneOfBuilder::new()
            .description(Some("An event. Its `type` tells the fields of its `data`."))
            .discriminator(Some(Discriminator::with_mapping("type", mapping)));
        variants.fold(union, |union, (_, variant)| union.item(variant)).into()
    }
}

impl ToSchema for EventOut<'_> {
    fn name() -> Cow<'static, str> {
        "Event".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((EventId::name().into_owned(), EventId::schema()));
        for kind in EventType::ALL {
            let data = data_schema(*kind, schemas);
            schemas.push((variant_name(*kind), variant_schema(*kind, data).into()));
        }
    }
}

/// The body of an event.
#[must_use]
pub fn event(id: EventId, kind: EventType, at: Micros, cursor: i64, data: &EventData<'_>) -> String {
    let data = match *data {
        EventData::Message(message) => EventDataOut::Message(EventMessage {
            conversation_id: message.conversation,
            message: message.into(),
        }),
        EventData::Conversation(conversation, first) => EventDataOut::Conversation(EventConversation {
            conversation: StartedConversation {
                conversation: conversation.into(),
                first_message: first.map(MessageOut::from),
            },
        }),
        EventData::Feedback { conversation, message, feedback } => EventDataOut::Feedback(EventFeedback {
            conversation_id: conversation,
            message_id: message,
            rating: feedback.map(|feedback| feedback.rating),
            comment: feedback.and_then(|feedback| feedback.comment.as_deref()),
        }),
        EventData::NoReply { conversation, turn, message, reason } => EventDataOut::NoReply(NoReply {
            conversation_id: conversation,
            turn_id: turn,
            reply_to_message_id: message,
            reason,
        }),
        EventData::Balance { balance, threshold } => {
            EventDataOut::Balance(LowBalance { balance, currency: Currency::Usd, threshold })
        }
        EventData::Endpoint { endpoint, reason } => {
            EventDataOut::Endpoint(EventEndpoint { webhook_endpoint_id: endpoint, reason })
        }
        EventData::Deleted(conversation_id) => EventDataOut::Deleted(DeletedConversation { conversation_id }),
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
        data: deleted.map(|conversation_id| EventDataOut::Deleted(DeletedConversation { conversation_id })),
    })
}

/// The message that the body of a `message.created` event tells of; none if its data was redacted.
#[must_use]
pub fn message_of_event(body: &str) -> Option<MessageId> {
    #[derive(Deserialize)]
    struct Body {
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        message: WithId,
    }
    #[derive(Deserialize)]
    struct WithId {
        id: MessageId,
    }
    let body: Body = serde_json::from_str(body).ok()?;
    body.data.map(|data| data.message.id)
}

/// The body of the `message.created` event of a reply, without its calls, and the reply; `None` if it has none.
#[must_use]
pub fn without_calls(body: &str) -> Option<(MessageId, String)> {
    let id = message_of_event(body)?;
    let mut event: Value = serde_json::from_str(body).ok()?;
    event.pointer_mut("/data/message")?.as_object_mut()?.shift_remove("function_calls")?;
    Some((id, event.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_loses_only_the_calls_of_its_reply() {
        let id = "msg_01k9z3x8f5e4r9t2m6q7w8y0ab";
        let with = |calls: &str| {
            format!(
                r#"{{"id":"evt_1","data":{{"message":{{"id":"{id}","text":"function_calls"{calls},"truncated":true}}}}}}"#
            )
        };

        let (message, body) = without_calls(&with(r#","function_calls":[{"name":"look"}]"#)).unwrap();

        assert_eq!((Some(message), body), (id.parse().ok(), with("")));
        assert_eq!(without_calls(&with("")), None);
    }

    #[test]
    fn a_message_is_found_in_its_event_unless_that_was_redacted() {
        let id = "msg_01k9z3x8f5e4r9t2m6q7w8y0ab";
        let body =
            format!(r#"{{"id":"evt_1","data":{{"conversation_id":"con_1","message":{{"id":"{id}"}}}}}}"#);

        assert_eq!(message_of_event(&body), id.parse().ok());
        assert_eq!(message_of_event(r#"{"id":"evt_1","type":"message.created"}"#), None);
    }

    #[test]
    fn the_cursor_of_an_event_gets_the_epoch_and_its_data_stays() {
        let body =
            r#"{"id":"evt_1","type":"message.created","cursor":"4","data":{"metadata":{"cursor":"4"}}}"#;
        let with = |epoch| with_epoch(body.to_owned(), EventCursor { epoch, number: 4 });

        assert_eq!(with(0), body);
        assert_eq!(with(17), body.replacen("\"4\"", "\"17-4\"", 1));
    }
}
