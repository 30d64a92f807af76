//! Rates a message of an assistant or an agent, or withdraws the rating. The same rating again changes nothing.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, MessageId, ResourceId as _, WorkspaceId};
use crate::domain::message::Feedback;
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Debug)]
pub struct RateMessage {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub message: MessageId,
    /// `None` withdraws the rating.
    pub feedback: Option<Feedback>,
}

impl Decision for RateMessage {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.conversation);
        plan.rated.insert((self.workspace, self.message));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.live_conversation(self.workspace, self.conversation)?;
        batch.check_not_suspended(self.workspace)?;
        let rated = batch.tables.rated.get(&self.message);
        let rated = rated.filter(|rated| {
            rated.key.workspace == self.workspace
                && rated.key.conversation == self.conversation
                && rated.is_ratable()
        });
        let rated = rated.ok_or_else(|| MessageId::not_found(self.message))?;
        if rated.feedback != self.feedback {
            batch.rate_message(self.message, self.feedback.as_ref());
        }
        Ok(())
    }
}

impl Command for RateMessage {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        let comment = self.feedback.as_ref().and_then(|feedback| feedback.comment.as_ref());
        comment.map_or(0, String::len) + 1024
    }
}
