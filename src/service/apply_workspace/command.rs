//! The changes of an apply that the writer's rules decide, as one command.

use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::writer::batch::{Batch, LoadPlan};
use crate::writer::{Decision, NewConversation, TopUp, WriteEndpoint};

pub(super) struct ApplyCommand {
    pub workspace: WorkspaceId,
    pub credit: Option<TopUp>,
    pub endpoints: Vec<WriteEndpoint>,
    pub conversations: Vec<NewConversation>,
}

impl Decision for ApplyCommand {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        plan.workspaces.insert(self.workspace);
        self.credit.iter().for_each(|credit| credit.plan(plan, now));
        self.endpoints.iter().for_each(|endpoint| endpoint.plan(plan, now));
        self.conversations.iter().for_each(|conversation| conversation.plan(plan, now));
    }

    /// The first error aborts the apply.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        self.credit.iter().try_for_each(|credit| credit.decide(batch).map(drop))?;
        self.endpoints.iter().try_for_each(|endpoint| endpoint.decide(batch).map(drop))?;
        self.conversations.iter().try_for_each(|conversation| conversation.decide(batch).map(drop))
    }
}
