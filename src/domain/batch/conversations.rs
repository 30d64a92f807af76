//! Conversations: made, switched, ended, and linked to the widget door.

use super::{AiSwitch, Batch, Change, Created, Creation, LinkRenewal};
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::{Error, Thing};
use crate::domain::event::EventType;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::rendered::EventData;

impl Batch<'_> {
    /// Makes a conversation, with its assistant's first message if it has one.
    pub(super) fn create(&mut self, creation: &Creation) -> Result<Box<Created>, Error> {
        let not_found = || Error::not_found(Thing::Assistant, creation.assistant.to_string());
        let head = self.tables.assistants.get(&creation.assistant).ok_or_else(not_found)?;
        if head.archived || head.workspace != creation.workspace {
            return Err(not_found());
        }
        let workspace = self.tables.workspaces.get(&creation.workspace).ok_or_else(not_found)?;
        if creation.check_balance && workspace.state.balance < workspace.settings.pricing.of(creation.kind) {
            return Err(Error::InsufficientBalance);
        }
        let mut conversation = Conversation {
            workspace: creation.workspace,
            id: creation.id,
            kind: creation.kind,
            assistant: creation.assistant,
            ai_enabled: true,
            created_at: self.setting.clock.now(),
            ended_at: None,
            deleted_at: None,
            next_position: 1,
            open_turns: 0,
            spent: 0,
            key_variables: creation.key_variables.clone(),
            visitor_variables: creation.visitor_variables.clone(),
            metadata: creation.metadata.clone(),
            external_identifier: creation.external_identifier.clone(),
        };
        let first = creation.first_message.as_ref().map(|(id, text)| Message {
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
        });
        conversation.next_position += i64::from(first.is_some());
        if let Some(link) = creation.link {
            self.written.links.push((link, creation.workspace, creation.id));
        }
        self.open_conversation(&conversation, first.as_ref());
        Ok(Box::new(Created { conversation, first_message: first }))
    }

    /// Enters a new conversation and tells of it.
    pub(super) fn open_conversation(&mut self, conversation: &Conversation, first: Option<&Message>) {
        self.tables.conversations.insert(conversation.id, conversation.clone());
        self.written.new_conversations.push(conversation.id);
        self.written.messages.extend(first.cloned());
        let data = EventData::Conversation(conversation, first);
        self.emit(conversation.workspace, EventType::ConversationCreated, &data);
    }

    /// Switches the AI, or ends the conversation; the replies in the making are then discarded.
    pub(super) fn set_ai(&mut self, switch: &AiSwitch) -> Result<Box<Conversation>, Error> {
        let id = switch.conversation;
        let (is_on, has_ended) = {
            let conversation = self.living(switch.workspace, id)?;
            (conversation.ai_enabled, conversation.ended_at.is_some())
        };
        match switch.change {
            Change::EnableAi if !is_on => self.set_ai_enabled(id, true),
            Change::DisableAi if is_on => self.set_ai_enabled(id, false),
            Change::End if !has_ended => self.end_conversation(id),
            Change::EnableAi | Change::DisableAi | Change::End => {}
        }
        self.living(switch.workspace, id).map(|conversation| Box::new(conversation.clone()))
    }

    pub(super) fn set_ai_enabled(&mut self, id: ConversationId, enabled: bool) {
        if !enabled {
            self.discard_open(id, Discard::AiDisabled);
        }
        self.change_conversation(id, EventType::ConversationUpdated, |conversation| {
            conversation.ai_enabled = enabled;
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
