//! Conversations: made, changed, ended, and linked to the widget door.

use super::{Batch, Changing, Created, Creation, LinkRenewal, Made};
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::{Error, Thing};
use crate::domain::event::EventType;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::rendered::{self, EventData};

impl Batch<'_> {
    /// Makes a conversation, with its assistant's first message if it has one.
    pub(super) fn create(&mut self, creation: &Creation) -> Result<Created, Error> {
        if let Some(answer) = self.kept(creation.idempotency.as_ref())?.and_then(|kept| kept.answer.clone()) {
            return Ok(Created::Replayed(answer));
        }
        self.check_creation(creation)?;
        let conversation = self.new_conversation(creation);
        let first_message = self.first_message(creation);
        if let Some(link) = creation.link {
            self.written.links.push((link, creation.workspace, creation.id));
        }
        self.open_conversation(&conversation, first_message.as_ref());
        let made = Made { conversation, link: creation.link, first_message };
        if creation.idempotency.is_some() {
            self.keep(creation.idempotency.as_ref(), None, Some(rendered::created(&made)));
        }
        Ok(Created::Made(Box::new(made)))
    }

    fn check_creation(&self, creation: &Creation) -> Result<(), Error> {
        let not_found = || Error::not_found(Thing::Assistant, creation.assistant.to_string());
        let head = self.tables.assistants.get(&creation.assistant).ok_or_else(not_found)?;
        if head.archived || head.workspace != creation.workspace {
            return Err(not_found());
        }
        let workspace = self.tables.workspaces.get(&creation.workspace).ok_or_else(not_found)?;
        if creation.check_balance && workspace.state.balance < workspace.settings.pricing.of(creation.kind) {
            return Err(Error::InsufficientBalance);
        }
        Ok(())
    }

    fn new_conversation(&self, creation: &Creation) -> Conversation {
        let Creation { workspace, id, kind, assistant, .. } = *creation;
        Conversation {
            next_position: 1 + i64::from(creation.first_message.is_some()),
            key_variables: creation.key_variables.clone(),
            visitor_variables: creation.visitor_variables.clone(),
            metadata: creation.metadata.clone(),
            external_identifier: creation.external_identifier.clone(),
            ..Conversation::new(workspace, id, kind, assistant, self.setting.clock.now())
        }
    }

    fn first_message(&self, creation: &Creation) -> Option<Message> {
        creation.first_message.as_ref().map(|(id, text)| Message {
            workspace: creation.workspace,
            conversation: creation.id,
            position: 1,
            id: *id,
            sender_type: SenderType::Assistant,
            sender_id: creation.assistant.to_string(),
            text: text.clone(),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: None,
            turn: None,
            created_at: self.setting.clock.now(),
        })
    }

    /// Enters a new conversation and tells of it.
    pub(super) fn open_conversation(&mut self, conversation: &Conversation, first: Option<&Message>) {
        self.tables.conversations.insert(conversation.id, conversation.clone());
        self.written.new_conversations.push(conversation.id);
        self.written.messages.extend(first.cloned());
        let data = EventData::Conversation(conversation, first);
        self.emit(conversation.workspace, EventType::ConversationCreated, &data);
    }

    /// Changes a conversation. Where its AI goes off, and where it ends, the replies in the making are
    /// discarded.
    pub(super) fn change(&mut self, changing: &Changing) -> Result<Box<Conversation>, Error> {
        let Changing { workspace, conversation: id, change } = changing;
        let before = self.living(*workspace, *id)?;
        let ai_enabled = change.ai_enabled.filter(|enabled| *enabled != before.ai_enabled);
        let metadata = change.metadata.clone().filter(|new| before.metadata.as_ref() != Some(new));
        let ends = change.ends && before.ended_at.is_none();
        if ai_enabled.is_some() || metadata.is_some() {
            self.update_conversation(*id, ai_enabled, metadata);
        }
        if ends {
            self.end_conversation(*id);
        }
        self.living(*workspace, *id).map(|conversation| Box::new(conversation.clone()))
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
            self.written.touch_metadata(id);
        }
        self.change_conversation(id, EventType::ConversationUpdated, |conversation| {
            conversation.ai_enabled = ai_enabled.unwrap_or(conversation.ai_enabled);
            conversation.metadata = metadata.or(conversation.metadata.take());
        });
    }

    fn end_conversation(&mut self, id: ConversationId) {
        self.discard_open(id, Discard::ConversationEnded);
        let now = self.setting.clock.now();
        self.change_conversation(id, EventType::ConversationEnded, |conversation| {
            conversation.ended_at = Some(now);
        });
    }

    fn change_conversation(
        &mut self,
        id: ConversationId,
        kind: EventType,
        change: impl FnOnce(&mut Conversation),
    ) {
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        change(conversation);
        let conversation = conversation.clone();
        self.written.touch_conversation(id);
        self.emit(conversation.workspace, kind, &EventData::Conversation(&conversation, None));
    }

    pub(super) fn renew_link(&mut self, renewal: &LinkRenewal) -> Result<(), Error> {
        self.living(renewal.workspace, renewal.conversation)?;
        self.written.links.retain(|(_, _, conversation)| *conversation != renewal.conversation);
        self.written.links.push((renewal.link, renewal.workspace, renewal.conversation));
        Ok(())
    }

    /// A conversation of this workspace that was not deleted.
    fn living(&self, workspace: WorkspaceId, id: ConversationId) -> Result<&Conversation, Error> {
        let conversation = self.tables.conversations.get(&id);
        conversation
            .filter(|conversation| conversation.workspace == workspace && conversation.deleted_at.is_none())
            .ok_or_else(|| Error::not_found(Thing::Conversation, id.to_string()))
    }
}
