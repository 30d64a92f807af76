//! Updates a conversation. Switching its AI off, or ending it, discards the replies in progress.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationPatch};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Debug)]
pub struct UpdateConversation {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub patch: ConversationPatch,
}

impl Decision for UpdateConversation {
    type Reply = Conversation;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.conversation);
        if self.patch.discards() {
            plan.ending.insert((self.workspace, self.conversation));
        }
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Conversation, Error> {
        let Self { workspace, conversation: id, ref patch } = *self;
        let before = batch.live_conversation(workspace, id)?;
        let ai_enabled = patch.ai_enabled.filter(|enabled| *enabled != before.ai_enabled);
        let metadata = patch.metadata.clone().filter(|new| before.metadata.as_ref() != Some(new));
        let ends = patch.ends && before.ended_at.is_none();
        if ai_enabled.is_some() || metadata.is_some() {
            batch.update_conversation(id, ai_enabled, metadata);
        }
        if ends {
            batch.end_conversation(id);
        }
        batch.live_conversation(workspace, id).cloned()
    }
}

impl Command for UpdateConversation {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        self.patch.metadata.as_ref().map_or(0, String::len) + 1024
    }
}
