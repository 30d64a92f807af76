//! Creates a conversation, with its assistant's first message if it has one.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind, CreatedConversation, SenderType};
use crate::domain::error::Error;
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use crate::domain::identity::Identity;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, ResourceId as _, WidgetUuid, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::render;
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Debug)]
pub struct NewConversation {
    pub workspace: WorkspaceId,
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub assistant: AssistantId,
    /// Its UUID on the widget API; conversations of type `widget` and `test` are created with one.
    pub link: Option<WidgetUuid>,
    /// The assistant's first message, with its variables filled in.
    pub first_message: Option<(MessageId, String)>,
    /// A JSON object.
    pub key_variables: String,
    /// A JSON object.
    pub visitor_variables: String,
    pub metadata: Option<String>,
    pub external_identifier: Option<String>,
    /// The identified visitor.
    pub identity: Option<Identity>,
    /// Whether a visitor creates it, without a key: it is removed if nothing happens in it.
    pub by_visitor: bool,
    /// Whether to refuse if the balance does not cover one message of the type.
    pub check_balance: bool,
    pub idempotency: Option<IdempotencyRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    Created(Box<CreatedConversation>),
    /// The idempotency key has a stored response, which the caller reads; `warning` is the `Rejoinder-Warning` of it.
    Replayed {
        key: IdempotencyKey,
        warning: Option<String>,
    },
}

impl Decision for NewConversation {
    type Reply = CreateOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.id);
        plan.assistants.insert((self.workspace, self.assistant));
        let keys = self.idempotency.iter().flat_map(|request| [request.key.clone(), request.key.erased()]);
        plan.idempotency.extend(keys);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<CreateOutcome, Error> {
        let record = batch.idempotency_record(self.idempotency.as_ref())?;
        if let Some(record) = record.filter(|record| record.answer.is_answered()) {
            let (key, warning) = (record.key.clone(), record.warning.clone());
            return Ok(CreateOutcome::Replayed { key, warning });
        }
        batch.check_not_suspended(self.workspace)?;
        self.check(batch)?;
        let now = batch.context.clock.now();
        let (conversation, first_message) = (self.conversation(now), self.first_message(now));
        batch.changes.links.extend(self.link.map(|link| (link, self.workspace, self.id)));
        batch.insert_conversation(&conversation, first_message.as_ref());
        let created = CreatedConversation { conversation, link: self.link, first_message };
        if self.idempotency.is_some() {
            let answer = render::conversation_created(&created);
            batch.put_idempotency_record(self.idempotency.as_ref(), Some(self.id), None, Some(answer));
        }
        Ok(CreateOutcome::Created(Box::new(created)))
    }
}

impl Command for NewConversation {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        let variables = self.key_variables.len() + self.visitor_variables.len();
        variables + self.metadata.as_ref().map_or(0, String::len) + 1024
    }
}

impl NewConversation {
    fn check(&self, batch: &Batch<'_>) -> Result<(), Error> {
        let not_found = || AssistantId::not_found(self.assistant);
        let assistant = batch.tables.assistants.get(&self.assistant).ok_or_else(not_found)?;
        if assistant.archived || assistant.workspace != self.workspace {
            return Err(not_found());
        }
        let workspace = batch.tables.workspaces.get(&self.workspace).ok_or_else(not_found)?;
        if self.check_balance && workspace.state.balance < workspace.config.settings.pricing.of(self.kind) {
            return Err(Error::InsufficientBalance);
        }
        if self.by_visitor { batch.check_untouched(&workspace.state) } else { Ok(()) }
    }

    fn conversation(&self, now: Micros) -> Conversation {
        let mut conversation = Conversation {
            next_position: 1 + i64::from(self.first_message.is_some()),
            key_variables: self.key_variables.clone(),
            visitor_variables: self.visitor_variables.clone(),
            metadata: self.metadata.clone(),
            external_identifier: self.external_identifier.clone(),
            is_untouched: self.by_visitor,
            ..Conversation::new(self.workspace, self.id, self.kind, self.assistant, now)
        };
        if let Some(identity) = &self.identity {
            conversation.set_identity(identity);
        }
        conversation
    }

    fn first_message(&self, now: Micros) -> Option<Message> {
        self.first_message.as_ref().map(|(id, text)| Message {
            workspace: self.workspace,
            conversation: self.id,
            position: 1,
            id: *id,
            sender_type: SenderType::Assistant,
            sender_id: self.assistant.to_string(),
            text: text.clone(),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: None,
            is_truncated: false,
            is_stopped: false,
            earlier_texts: None,
            turn: None,
            created_at: now,
            rating: None,
            rating_comment: None,
        })
    }
}
