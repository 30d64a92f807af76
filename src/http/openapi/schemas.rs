//! The shapes of what `domain::render` and the platform's envelope render, for the
//! document alone. A test compares them with what is really sent.
#![expect(dead_code, reason = "these types describe; nothing is made of them")]

use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::platform::calendars::wire::{BookingOut, CalendarOut};
use crate::http::platform::knowledge_bases::wire::{
    BaseOut, DocumentOut, DocumentWithTextOut, SearchResultsOut,
};
use crate::http::platform::tools::wire::{RefreshedToolOut, TestCallOut, ToolOut, ToolSummaryOut};
use crate::http::platform::turns::wire::{MessageTraceOut, TracedTurnOut};
use crate::http::platform::webhook_endpoints::wire::{
    DeliveryDetailsOut, DeliveryOut, EndpointOut, EndpointWithSecretOut, ReplayOut,
};
use crate::http::platform::wire::{BalanceOut, LedgerEntryOut, LinkOut};
use crate::http::widget::wire::FunctionCall;

/// A message.
#[derive(ToSchema)]
pub(in crate::http) struct Message {
    #[schema(example = "msg_45kd01")]
    id: String,
    #[schema(example = "usr_82hd92")]
    sender_id: String,
    /// `user`, `agent`, `system` or `assistant`.
    #[schema(example = "user")]
    sender_type: String,
    text: String,
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
    /// Of a reply: the calls that were made for it.
    function_calls: Option<Vec<FunctionCall>>,
    #[schema(example = "2026-03-15T14:22:11Z")]
    created_at: String,
    reply_to_message_id: Option<String>,
}

/// A conversation.
#[derive(ToSchema)]
pub(in crate::http) struct Conversation {
    #[schema(example = "con_9s2kd81")]
    id: String,
    /// `widget`, `test` or `api`.
    #[schema(rename = "type")]
    kind: String,
    assistant_id: String,
    ai_enabled: bool,
    #[schema(value_type = Object)]
    variables: (),
    external_identifier: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
    created_at: String,
    ended_at: Option<String>,
}

/// An event; what `data` holds depends on its type.
#[derive(ToSchema)]
pub(in crate::http) struct Event {
    id: String,
    #[schema(rename = "type", example = "message.created")]
    kind: String,
    created_at: String,
    cursor: String,
    /// Absent once its conversation is deleted.
    #[schema(value_type = Option<Object>)]
    data: Option<()>,
}

/// A new conversation, with what only its creation tells.
#[derive(ToSchema)]
pub(in crate::http) struct NewConversation {
    #[schema(inline)]
    #[serde(flatten)]
    conversation: Conversation,
    /// Of types `widget` and `test`: the name by which the widget door knows it.
    widget_uuid: Option<Uuid>,
    first_message: Option<Message>,
}

/// A message that is stored.
#[derive(ToSchema)]
#[schema(as = Acknowledged)]
pub(in crate::http) struct MessageReceipt {
    conversation_id: String,
    message: Message,
    /// Where false, `Rejoinder-Reason` says why.
    auto_reply_enqueued: bool,
}

/// Events, in order.
#[derive(ToSchema)]
pub(in crate::http) struct Events {
    items: Vec<Event>,
    /// For `?after=`; never null.
    next_cursor: String,
}

macro_rules! success_schemas {
    ($($(#[$doc:meta])* $name:ident($data:ty);)+) => {
        $(
            $(#[$doc])*
            #[derive(ToSchema)]
            pub(in crate::http) struct $name {
                #[schema(example = "success")]
                status: String,
                message: String,
                data: $data,
            }
        )+
    };
}

macro_rules! page_schemas {
    ($($(#[$doc:meta])* $name:ident, $items:ident($item:ty);)+) => {
        $(
            $(#[$doc])*
            #[derive(ToSchema)]
            pub(in crate::http) struct $items {
                items: Vec<$item>,
                /// For `?cursor=`; null on the last page.
                #[schema(required)]
                next_cursor: Option<String>,
            }
            success_schemas! { $(#[$doc])* $name($items); }
        )+
    };
}

success_schemas! {
    /// A stored message.
    Acknowledgement(MessageReceipt);
    /// A conversation.
    OneConversation(Conversation);
    /// A new conversation.
    CreatedConversation(NewConversation);
    /// A widget link.
    OneLink(LinkOut);
    /// A turn with its trace.
    OneTurn(TracedTurnOut);
    /// A message's trace.
    OneTrace(MessageTraceOut);
    /// The balance.
    OneBalance(BalanceOut);
    /// Events, in order.
    EventPage(Events);
    /// A tool.
    OneTool(ToolOut);
    /// A tool that was asked for anew.
    RefreshedTool(RefreshedToolOut);
    /// What a test call came to.
    TestedCall(TestCallOut);
    /// A webhook endpoint.
    OneEndpoint(EndpointOut);
    /// A webhook endpoint with its new secret.
    EndpointWithSecret(EndpointWithSecretOut);
    /// A delivery with its attempts.
    OneDelivery(DeliveryDetailsOut);
    /// What is sent again.
    OneReplay(ReplayOut);
    /// A calendar.
    OneCalendar(CalendarOut);
    /// A booking.
    OneBooking(BookingOut);
    /// A knowledge base.
    OneBase(BaseOut);
    /// Passages, the best first.
    FoundPassages(SearchResultsOut);
    /// A document.
    OneDocument(DocumentOut);
    /// A document with its text.
    OneDocumentWithText(DocumentWithTextOut);
}

page_schemas! {
    /// Conversations, the newest first.
    ConversationPage, Conversations(Conversation);
    /// Messages, the oldest first.
    MessagePage, Messages(Message);
    /// Tools, the oldest first.
    ToolPage, Tools(ToolSummaryOut);
    /// Webhook endpoints, the oldest first.
    EndpointPage, WebhookEndpoints(EndpointOut);
    /// Knowledge bases, the oldest first.
    BasePage, KnowledgeBases(BaseOut);
    /// Documents of a knowledge base, the oldest first.
    DocumentPage, Documents(DocumentOut);
    /// Deliveries, the newest event's first.
    DeliveryPage, Deliveries(DeliveryOut);
    /// Calendars, the oldest first.
    CalendarPage, Calendars(CalendarOut);
    /// Bookings, in order of their start.
    BookingPage, Bookings(BookingOut);
    /// Entries of the ledger, the oldest first.
    LedgerPage, LedgerEntries(LedgerEntryOut);
}
