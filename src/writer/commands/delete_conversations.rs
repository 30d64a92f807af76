//! Deletes conversations: they are not found any more, their open turns are discarded, and a worker removes their content.

use std::sync::Arc;

use super::{Command, Decision};
use crate::domain::audit::Actor;
use crate::domain::clock::Micros;
use crate::domain::erasure::{Erasure, NewErasure};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ErasureId, WorkspaceId};
use crate::writer::batch::{Batch, LoadPlan};

/// Deletes one conversation at the request of a client, with an erasure of its own.
#[derive(Clone, Debug)]
pub struct DeleteConversation {
    pub conversation: ConversationId,
    pub erasure: NewErasure,
    pub actor: Arc<Actor>,
}

impl Decision for DeleteConversation {
    type Reply = Erasure;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.erasure.workspace, self.conversation);
        plan.ending.insert((self.erasure.workspace, self.conversation));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Erasure, Error> {
        batch.live_conversation(self.erasure.workspace, self.conversation)?;
        batch.delete_conversation(self.conversation, self.erasure.id);
        batch.changes.erasures.push((self.erasure.clone(), Arc::clone(&self.actor)));
        Ok(Erasure::new(&self.erasure))
    }
}

impl Command for DeleteConversation {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.erasure.workspace
    }
}

/// Deletes conversations of an erasure that was stored before.
#[derive(Clone, Debug)]
pub struct DeleteConversations {
    pub workspace: WorkspaceId,
    pub erasure: ErasureId,
    pub conversations: Vec<ConversationId>,
}

impl Decision for DeleteConversations {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        for conversation in &self.conversations {
            plan.add_conversation(self.workspace, *conversation);
            plan.ending.insert((self.workspace, *conversation));
        }
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        for conversation in &self.conversations {
            // Another erasure may have deleted it meanwhile.
            if batch.live_conversation(self.workspace, *conversation).is_ok() {
                batch.delete_conversation(*conversation, self.erasure);
            }
        }
        Ok(())
    }
}

impl Command for DeleteConversations {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}
