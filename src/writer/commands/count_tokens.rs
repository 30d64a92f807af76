//! Counts the tokens of model calls when no other write of their turn does, such as those of a call that was broken off, because its
//! turn was ended by another or handed back. A commit without an answer may be repeated, and then they count twice.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::TurnRef;
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Copy, Debug)]
pub struct CountTokens {
    pub turn: TurnRef,
    pub tokens: i64,
}

impl Decision for CountTokens {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.turn.workspace, self.turn.conversation);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.count_tokens(&self.turn, self.tokens);
        Ok(())
    }
}

impl Command for CountTokens {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }
}
