//! Gives a conversation a new widget UUID; the old one becomes unknown.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, WidgetUuid, WorkspaceId};
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Copy, Debug)]
pub struct RenewWidgetLink {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub link: WidgetUuid,
}

impl Decision for RenewWidgetLink {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.conversation);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.live_conversation(self.workspace, self.conversation)?;
        batch.keep_conversation(self.conversation);
        let links = &mut batch.changes.links;
        links.retain(|(_, _, conversation)| *conversation != self.conversation);
        links.push((self.link, self.workspace, self.conversation));
        Ok(())
    }
}

impl Command for RenewWidgetLink {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}
