//! Discards the open turns of a conversation of a suspended workspace.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Copy, Debug)]
pub struct DiscardSuspended {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
}

impl Decision for DiscardSuspended {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.conversation);
        plan.ending.insert((self.workspace, self.conversation));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        // It may be resumed meanwhile.
        if batch.is_suspended(self.workspace) {
            batch.discard_open(self.conversation, Discard::WorkspaceSuspended);
        }
        Ok(())
    }
}

impl Command for DiscardSuspended {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}
