//! Conversations: made, changed, ended, and linked to the widget API.

use super::{Batch, CreateOutcome, LinkRenewal, NewConversation, UpdateConversation};
use crate::domain::conversation::{Conversation, CreatedConversation, SenderType};
use crate::domain::error::{Error, ResourceKind};
use crate::domain::event::EventType;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::render::{self, EventData};

impl Batch<'_> {
    /// Makes a conversation, with its assistant's first message if it has one.
    pub(super) fn create(&mut self, new: &NewConversation) -> Result<CreateOutcome, Error> {
        if let Some(answer) =
            self.idempotency_record(new.idempotency.as_ref())?.and_then(|record| record.answer.clone())
        {
            return Ok(CreateOutcome::Replayed(answer));
        }
        self.check_creation(new)?;
        let conversation = self.new_conversation(new);
        let first_message = self.first_message(new);
        if let Some(link) = new.link {
            self.changes.links.push((link, new.workspace, new.id));
        }
        self.insert_conversation(&conversation, first_message.as_ref());
        let created = CreatedConversation { conversation, link: new.link, first_message };
        if new.idempotency.is_some() {
            self.put_idempotency_record(
                new.idempotency.as_ref(),
                None,
                Some(render::conversation_created(&created)),
            );
        }
        Ok(CreateOutcome::Created(Box::new(created)))
    }

    fn check_creation(&self, new: &NewConversation) -> Result<(), Error> {
        let not_found = || Error::not_found(ResourceKind::Assistant, new.assistant.to_string());
        let assistant = self.tables.assistants.get(&new.assistant).ok_or_else(not_found)?;
        if assistant.archived || assistant.workspace != new.workspace {
            return Err(not_found());
        }
        let workspace = self.tables.workspaces.get(&new.workspace).ok_or_else(not_found)?;
        if new.check_balance && workspace.state.balance < workspace.settings.pricing.of(new.kind) {
            return Err(Error::InsufficientBalance);
        }
        Ok(())
    }

    fn new_conversation(&self, new: &NewConversation) -> Conversation {
        let NewConversation { workspace, id, kind, assistant, .. } = *new;
        Conversation {
            next_position: 1 + i64::from(new.first_message.is_some()),
            key_variables: new.key_variables.clone(),
            visitor_variables: new.visitor_variables.clone(),
            metadata: new.metadata.clone(),
            external_identifier: new.external_identifier.clone(),
            ..Conversation::new(workspace, id, kind, assistant, self.context.clock.now())
        }
    }

    fn first_message(&self, new: &NewConversation) -> Option<Message> {
        new.first_message.as_ref().map(|(id, text)| Message {
            workspace: new.workspace,
            conversation: new.id,
            position: 1,
            id: *id,
            sender_type: SenderType::Assistant,
            sender_id: new.assistant.to_string(),
            text: text.clone(),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: None,
            turn: None,
            created_at: self.context.clock.now(),
        })
    }

    /// Enters a new conversation and tells of it.
    pub(super) fn insert_conversation(&mut self, conversation: &Conversation, first: Option<&Message>) {
        self.tables.conversations.insert(conversation.id, conversation.clone());
        self.changes.new_conversations.push(conversation.id);
        self.changes.messages.extend(first.cloned());
        let data = EventData::Conversation(conversation, first);
        self.emit(conversation.workspace, EventType::ConversationCreated, &data);
    }

    /// Changes a conversation. Where its AI goes off, and where it ends, the replies in the making are
    /// discarded.
    pub(super) fn update(&mut self, command: &UpdateConversation) -> Result<Box<Conversation>, Error> {
        let UpdateConversation { workspace, conversation: id, patch } = command;
        let before = self.live_conversation(*workspace, *id)?;
        let ai_enabled = patch.ai_enabled.filter(|enabled| *enabled != before.ai_enabled);
        let metadata = patch.metadata.clone().filter(|new| before.metadata.as_ref() != Some(new));
        let ends = patch.ends && before.ended_at.is_none();
        if ai_enabled.is_some() || metadata.is_some() {
            self.update_conversation(*id, ai_enabled, metadata);
        }
        if ends {
            self.end_conversation(*id);
        }
        self.live_conversation(*workspace, *id).map(|conversation| Box::new(conversation.clone()))
    }

    /// Updates what is named, and tells of it once.
    pub(super) fn update_conversation(
        &mut self,
        id: ConversationId,
        ai_enabled: Option<bool>,
        metadata: Option<String>,
    ) {
        if ai_enabled == Some(false) {
            self.discard_open(id, Discard::AiDisabled);
        }
        if metadata.is_some() {
            self.changes.touch_metadata(id);
        }
        self.modify_conversation(id, EventType::ConversationUpdated, |conversation| {
            conversation.ai_enabled = ai_enabled.unwrap_or(conversation.ai_enabled);
            conversation.metadata = metadata.or(conversation.metadata.take());
        });
    }

    fn end_conversation(&mut self, id: ConversationId) {
        self.discard_open(id, Discard::ConversationEnded);
        let now = self.context.clock.now();
        self.modify_conversation(id, EventType::ConversationEnded, |conversation| {
            conversation.ended_at = Some(now);
        });
    }

    fn modify_conversation(
        &mut self,
        id: ConversationId,
        kind: EventType,
        change: impl FnOnce(&mut Conversation),
    ) {
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        change(conversation);
        let conversation = conversation.clone();
        self.changes.touch_conversation(id);
        self.emit(conversation.workspace, kind, &EventData::Conversation(&conversation, None));
    }

    pub(super) fn renew_link(&mut self, renewal: &LinkRenewal) -> Result<(), Error> {
        self.live_conversation(renewal.workspace, renewal.conversation)?;
        self.changes.links.retain(|(_, _, conversation)| *conversation != renewal.conversation);
        self.changes.links.push((renewal.link, renewal.workspace, renewal.conversation));
        Ok(())
    }

    /// A conversation of this workspace that was not deleted.
    fn live_conversation(&self, workspace: WorkspaceId, id: ConversationId) -> Result<&Conversation, Error> {
        let conversation = self.tables.conversations.get(&id);
        conversation
            .filter(|conversation| conversation.workspace == workspace && conversation.deleted_at.is_none())
            .ok_or_else(|| Error::not_found(ResourceKind::Conversation, id.to_string()))
    }
}
