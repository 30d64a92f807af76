//! Conversations: insert, update and end; ratings of their messages.

use super::Batch;
use crate::domain::conversation::Conversation;
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::failure::Discard;
use crate::domain::identity::Identity;
use crate::domain::ids::{ConversationId, ErasureId, MessageId, ResourceId as _, WorkspaceId};
use crate::domain::message::{Feedback, Message};
use crate::domain::render::EventData;
use crate::store::conversations::Deletion;

impl Batch<'_> {
    /// Inserts a conversation, with an event.
    pub(in crate::writer) fn insert_conversation(
        &mut self,
        conversation: &Conversation,
        first: Option<&Message>,
    ) {
        self.tables.conversations.insert(conversation.id, conversation.clone());
        self.changes.new_conversations.push(conversation.id);
        self.changes.messages.extend(first.cloned());
        if let Some(row) = self.tables.workspaces.get_mut(&conversation.workspace) {
            row.state.untouched += i64::from(conversation.is_untouched);
        }
        let data = EventData::Conversation(conversation, first);
        self.emit(conversation.workspace, EventType::ConversationCreated, &data);
    }

    /// Keeps a conversation for good, because something happens in it.
    pub(in crate::writer) fn keep_conversation(&mut self, id: ConversationId) {
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        if !std::mem::take(&mut conversation.is_untouched) {
            return;
        }
        let workspace = conversation.workspace;
        self.changes.touch_conversation(id);
        if let Some(row) = self.tables.workspaces.get_mut(&workspace) {
            row.state.untouched -= 1;
            self.changes.touch_workspace(workspace);
        }
    }

    /// Takes over the claims of a visitor's token, unless those of a later one are there.
    pub(in crate::writer) fn renew_identity(&mut self, id: ConversationId, identity: &Identity) {
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        if conversation.identity_expires_at.is_some_and(|expiry| expiry > identity.expires_at) {
            return;
        }
        let before = (conversation.identity_expires_at, conversation.identity_variables.clone());
        conversation.set_identity(identity);
        if before != (conversation.identity_expires_at, conversation.identity_variables.clone()) {
            self.changes.touch_identity(id);
        }
    }

    /// Updates the given fields, with one event. Switching the AI off discards the open turns.
    pub(in crate::writer) fn update_conversation(
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

    /// Ends a conversation, with an event, and discards its open turns.
    pub(in crate::writer) fn end_conversation(&mut self, id: ConversationId) {
        self.discard_open(id, Discard::ConversationEnded);
        let now = self.context.clock.now();
        self.modify_conversation(id, EventType::ConversationEnded, |conversation| {
            conversation.ended_at = Some(now);
        });
    }

    /// Deletes a conversation, with an event, and discards its open turns. A worker removes its content.
    pub(in crate::writer) fn delete_conversation(&mut self, id: ConversationId, erasure: ErasureId) {
        self.discard_open(id, Discard::ConversationDeleted);
        self.keep_conversation(id);
        let now = self.context.clock.now();
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        conversation.deleted_at = Some(now);
        let workspace = conversation.workspace;
        self.changes.deletions.push(Deletion { workspace, conversation: id, erasure, deleted_at: now });
        self.emit(workspace, EventType::ConversationDeleted, &EventData::Deleted(id));
    }

    /// Changes the rating of a message, with an event.
    pub(in crate::writer) fn rate_message(&mut self, id: MessageId, feedback: Option<&Feedback>) {
        let Some(rated) = self.tables.rated.get_mut(&id) else { return };
        let key = rated.key;
        rated.feedback = feedback.cloned();
        self.changes.ratings.insert(id);
        self.keep_conversation(key.conversation);
        let data = EventData::Feedback { conversation: key.conversation, message: id, feedback };
        self.emit(key.workspace, EventType::MessageFeedback, &data);
    }

    fn modify_conversation(
        &mut self,
        id: ConversationId,
        kind: EventType,
        change: impl FnOnce(&mut Conversation),
    ) {
        self.keep_conversation(id);
        let now = self.context.clock.now();
        let Some(conversation) = self.tables.conversations.get_mut(&id) else { return };
        change(conversation);
        conversation.updated_at = now;
        let conversation = conversation.clone();
        self.changes.touch_conversation(id);
        self.emit(conversation.workspace, kind, &EventData::Conversation(&conversation, None));
    }

    /// A conversation of the workspace that is not deleted.
    pub(in crate::writer) fn live_conversation(
        &self,
        workspace: WorkspaceId,
        id: ConversationId,
    ) -> Result<&Conversation, Error> {
        let conversation = self.tables.conversations.get(&id);
        conversation
            .filter(|conversation| conversation.workspace == workspace && conversation.deleted_at.is_none())
            .ok_or_else(|| ConversationId::not_found(id))
    }
}
