//! Conversations and the senders of messages.

use serde_json::Value;

use super::clock::{Micros, TimeRange};
use super::identity::Identity;
use super::ids::{AssistantId, ConversationId, WidgetUuid, WorkspaceId};
use super::message::Message;
use super::message_search::MessageFilter;
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
    /// The identified visitor: without a valid token of theirs, no request of the widget API finds the conversation.
    pub identity: Option<String>,
    /// A JSON object: the claims of the visitor's last token, as trusted as variables of a key.
    pub identity_variables: String,
    /// The end of these.
    pub identity_expires_at: Option<Micros>,
    /// Whether a visitor created it and nothing has happened in it since. It is removed after a time.
    pub is_untouched: bool,
    /// The time of its last message or change.
    pub updated_at: Micros,
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
            identity: None,
            identity_variables: "{}".to_owned(),
            identity_expires_at: None,
            is_untouched: false,
            updated_at: created_at,
        }
    }

    /// Sets the visitor's claims.
    pub fn set_identity(&mut self, identity: &Identity) {
        self.identity = Some(identity.subject.clone());
        self.identity_variables = Value::from(identity.variables.clone()).to_string();
        self.identity_expires_at = Some(identity.expires_at);
    }

    /// The variables that tools may use, as JSON objects: those of an API key, and the visitor's claims until they expire, which override
    /// them.
    #[must_use]
    pub fn trusted_variables(&self, now: Micros) -> [&str; 2] {
        let is_valid = self.identity_expires_at.is_some_and(|expiry| now < expiry);
        [&self.key_variables, if is_valid { &self.identity_variables } else { "{}" }]
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

/// A conversation in the list of its identified visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedConversation {
    pub link: WidgetUuid,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub has_ended: bool,
    /// The beginning of its newest message, system messages aside.
    pub preview: Option<String>,
}

/// The filter of a list of conversations; absent fields match all.
#[derive(Clone, Debug)]
pub struct ConversationFilter {
    pub kind: Option<ConversationKind>,
    pub assistant: Option<AssistantId>,
    pub external_identifier: Option<String>,
    /// The `sub` of an identity token.
    pub identity: Option<String>,
    pub widget: Option<WidgetUuid>,
    pub ai_enabled: Option<bool>,
    pub ended: Option<bool>,
    pub created: TimeRange,
    pub updated: TimeRange,
    /// Strings that the metadata has under these keys.
    pub metadata: Vec<(String, String)>,
    pub search: Option<ConversationSearch>,
    pub sort: ConversationSort,
    /// The end of the previous page.
    pub after: Option<ConversationCursor>,
}

/// A text that conversations are searched for: in the words of their messages, or anywhere in their external identifier.
#[derive(Clone, Debug)]
pub struct ConversationSearch {
    pub text: String,
    pub messages: MessageFilter,
}

string_enum! {
    /// The order of a list of conversations.
    ConversationSort {
        Oldest = "created_at",
        Newest = "-created_at",
        LeastRecentlyUpdated = "updated_at",
        MostRecentlyUpdated = "-updated_at",
    }
}

/// A conversation's position in a list: the time that orders it, and its id.
pub type ConversationCursor = (Micros, ConversationId);

impl ConversationSort {
    /// The position of a conversation in a list of this order.
    #[must_use]
    pub fn position(self, conversation: &Conversation) -> ConversationCursor {
        let time = match self {
            Self::Oldest | Self::Newest => conversation.created_at,
            Self::LeastRecentlyUpdated | Self::MostRecentlyUpdated => conversation.updated_at,
        };
        (time, conversation.id)
    }
}
