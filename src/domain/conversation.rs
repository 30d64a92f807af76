//! Conversations and the senders of messages.

use super::clock::Micros;
use super::ids::{AssistantId, ConversationId, WidgetUuid, WorkspaceId};
use super::message::Message;
use super::string_enum::string_enum;

string_enum! {
    /// The type of a conversation, which determines its price.
    ConversationKind {
        /// A visitor of a chat widget.
        Widget = "widget",
        /// A test of the assistant; free.
        Test = "test",
        /// A conversation of a back end, through the platform API.
        Api = "api",
    }
}

string_enum! {
    /// Who sent a message.
    SenderType {
        /// The person who is served.
        User = "user",
        /// A human agent.
        Agent = "agent",
        /// An instruction to the model, from this message on.
        System = "system",
        /// The model's reply.
        Assistant = "assistant",
    }
}

string_enum! {
    /// The role of a message's sender, as the widget API shows it.
    HistoryRole {
        User = "user",
        /// The assistant or a human agent.
        Assistant = "assistant",
        System = "system",
    }
}

/// A stored conversation. Free-form JSON keeps the text that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub workspace: WorkspaceId,
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub assistant: AssistantId,
    pub ai_enabled: bool,
    pub created_at: Micros,
    pub ended_at: Option<Micros>,
    pub deleted_at: Option<Micros>,
    /// The position of its next message, and so the number of its messages.
    pub next_position: i64,
    /// Turns that have not ended.
    pub open_turns: i64,
    /// Charges, also those that were refunded, in millionths of a dollar.
    pub spent: i64,
    /// Tokens of models, also those of turns without a reply.
    pub tokens: i64,
    /// A JSON object: variables set by an API key. Tools may use them.
    pub key_variables: String,
    /// A JSON object: variables set by a visitor. Never used in the URL, headers or body of a tool.
    pub visitor_variables: String,
    /// A JSON object.
    pub metadata: Option<String>,
    pub external_identifier: Option<String>,
    /// Whether a visitor created it and nothing has happened in it since. It is removed after a time.
    pub is_untouched: bool,
}

impl Conversation {
    /// A new conversation without messages, with its AI on.
    #[must_use]
    pub fn new(
        workspace: WorkspaceId,
        id: ConversationId,
        kind: ConversationKind,
        assistant: AssistantId,
        created_at: Micros,
    ) -> Self {
        Self {
            workspace,
            id,
            kind,
            assistant,
            ai_enabled: true,
            created_at,
            ended_at: None,
            deleted_at: None,
            next_position: 1,
            open_turns: 0,
            spent: 0,
            tokens: 0,
            key_variables: "{}".to_owned(),
            visitor_variables: "{}".to_owned(),
            metadata: None,
            external_identifier: None,
            is_untouched: false,
        }
    }
}

/// Changes to a conversation, applied together. Absent fields do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationPatch {
    pub ai_enabled: Option<bool>,
    /// A JSON object that replaces the previous one.
    pub metadata: Option<String>,
    /// Whether the conversation ends permanently.
    pub ends: bool,
}

impl ConversationPatch {
    /// Whether pending replies may have to be discarded.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.ends || self.ai_enabled == Some(false)
    }
}

/// A conversation that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedConversation {
    pub conversation: Conversation,
    pub link: Option<WidgetUuid>,
    pub first_message: Option<Message>,
}

/// The filter of a list of conversations; absent fields match all.
#[derive(Clone, Debug, Default)]
pub struct ConversationFilter {
    pub kind: Option<ConversationKind>,
    pub assistant: Option<AssistantId>,
    pub external_identifier: Option<String>,
    pub widget: Option<WidgetUuid>,
    /// The end of the previous page.
    pub after: Option<ConversationCursor>,
}

/// A conversation's position in the list, which is ordered by age.
pub type ConversationCursor = (Micros, ConversationId);
