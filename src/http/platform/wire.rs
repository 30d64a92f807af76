//! What travels through the platform door.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::{TurnId, WidgetUuid};
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::message::Message;
use crate::domain::money::Money;
use crate::domain::render::MessageOut;
use crate::http::fields::Field;

/// A message to a conversation that there is, or to a new one.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageIn)]
pub(in crate::http) struct MessageIn {
    /// Absent: a conversation is made, where the workspace's settings allow it.
    #[schema(value_type = String, required = false, example = "con_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    pub(super) conversation_id: Field,
    #[schema(value_type = String, required, max_length = 255, example = "usr_82hd92")]
    pub(super) sender_id: Field,
    /// `user`, `agent` or `system`.
    #[schema(value_type = String, required, example = "user")]
    pub(super) sender_type: Field,
    #[schema(value_type = String, required, max_length = 10000, example = "Can you summarize my last 5 calls?")]
    pub(super) text: Field,
    /// A message of the same conversation.
    #[schema(value_type = String, required = false)]
    pub(super) reply_to_message_id: Field,
    /// At most 16 KB; answered as it was sent.
    #[schema(value_type = Object, required = false, example = json!({"channel": "web", "locale": "en-US"}))]
    pub(super) metadata: Field,
    /// Whether the AI is to reply. Default: true.
    #[schema(value_type = bool, required = false, example = true)]
    pub(super) auto_reply: Field,
}

/// A conversation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ConversationIn)]
pub(in crate::http) struct ConversationIn {
    /// An `ast_…` id, or the UUID that the widget door knows it by.
    #[schema(value_type = String, required, example = "550e8400-e29b-41d4-a716-446655440000")]
    pub(super) assistant_id: Field,
    /// `api` (default), `widget` or `test`.
    #[serde(rename = "type")]
    #[schema(value_type = String, required = false, example = "api")]
    pub(super) kind: Field,
    /// Fill `{{name}}` in prompts, and in tools.
    #[schema(value_type = Object, required = false)]
    pub(super) variables: Field,
    /// A name of your own, to find it by.
    #[schema(value_type = String, required = false, max_length = 255)]
    pub(super) external_identifier: Field,
    /// At most 16 KB.
    #[schema(value_type = Object, required = false)]
    pub(super) metadata: Field,
}

/// What is to change in a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ConversationChange)]
pub(in crate::http) struct ConversationUpdateIn {
    /// `false`: a person takes over; replies in the making are dropped and refunded.
    #[schema(value_type = bool, required = false, example = false)]
    pub(super) ai_enabled: Field,
    /// At most 16 KB; in place of what was there. `{}` leaves nothing of it.
    #[schema(value_type = Object, required = false)]
    pub(super) metadata: Field,
    /// Only `true`: the conversation ends, for good.
    #[schema(value_type = bool, required = false)]
    pub(super) ended: Field,
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// Items of a page; 1 to 200, 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Which conversations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ConversationsQuery {
    /// Items of a page; 1 to 200, 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// `widget`, `test` or `api`.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// An `ast_…` id, or a UUID.
    pub(super) assistant_id: Option<String>,
    pub(super) external_identifier: Option<String>,
    /// The name by which the widget door knows the conversation.
    #[param(value_type = Option<Uuid>)]
    pub(super) widget_uuid: Option<String>,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EventsQuery {
    /// Only events after this: a cursor, the id of an event, or `latest`, from now. Without it, from the oldest that is kept.
    pub(super) after: Option<String>,
    /// Only these types, separated by commas.
    #[param(example = "message.created,reply.failed")]
    pub(super) types: Option<String>,
    /// Only events of this conversation.
    pub(super) conversation_id: Option<String>,
    /// Events of a page; 1 to 200, 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// Where there is no event, wait for the first for so many seconds, and then answer with an empty page. 0 without it.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 60)]
    pub(super) wait: Option<String>,
}

/// Which events to follow. The header `Last-Event-ID` wins over `after`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StreamQuery {
    /// Only events after this: a cursor, the id of an event, or `latest`, from now. Without it, from the oldest that is kept.
    pub(super) after: Option<String>,
    /// Only these types, separated by commas.
    #[param(example = "message.created,reply.failed")]
    pub(super) types: Option<String>,
    /// Only events of this conversation.
    pub(super) conversation_id: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct PageOut<T> {
    pub(super) items: Vec<T>,
    /// Null on the last page.
    pub(super) next_cursor: Option<String>,
}

/// A conversation's new name at the widget door.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinkOut {
    #[schema(value_type = Uuid)]
    pub(super) widget_uuid: WidgetUuid,
}

/// What the workspace may still spend.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct BalanceOut {
    #[schema(value_type = String, example = "9.99")]
    pub(super) balance: Money,
    #[schema(example = "USD")]
    pub(super) currency: &'static str,
}

/// One movement of the balance.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LedgerEntryOut {
    number: i64,
    /// `top_up`, `charge` or `refund`.
    #[schema(value_type = String, example = "charge")]
    kind: LedgerKind,
    #[schema(value_type = String, example = "-0.01")]
    amount: Money,
    #[schema(value_type = String, example = "9.99")]
    balance_after: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[schema(example = "2026-03-15T14:22:11Z")]
    created_at: String,
}

impl From<LedgerEntry> for LedgerEntryOut {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            number: entry.number,
            kind: entry.kind,
            amount: entry.amount,
            balance_after: entry.balance_after,
            turn_id: entry.turn,
            reference: entry.reference,
            created_at: entry.created_at.to_string(),
        }
    }
}

/// The messages of a page, as the contract shows them.
pub(super) fn message_items(messages: &[Message]) -> Vec<MessageOut<'_>> {
    messages.iter().map(MessageOut::from).collect()
}
