//! Ends a turn and starts the next one of its conversation.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::WorkspaceId;
use crate::domain::journal::JournalRow;
use crate::domain::turn::{Api, TurnEnd, TurnRef};
use crate::writer::batch::{Batch, LoadPlan, TurnWriteOutcome};

/// The condition under which a turn may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndAuthority {
    /// The sender owns the turn with this fence.
    Owner { fence: i64 },
    /// The turn's deadline has passed.
    Deadline,
    /// The turn exceeded a limit when it had this fence, and nothing has happened to it since.
    Overdue { fence: i64 },
    /// No condition: the client has received the failure of its turn, or receives it while the process stops.
    ClientGone,
}

#[derive(Clone, Debug)]
pub struct EndTurn {
    pub turn: TurnRef,
    pub authority: EndAuthority,
    pub end: TurnEnd,
    /// The last model answer of the turn, for its journal.
    pub journal: Option<JournalRow>,
    /// The failed call of a model that led to the end, for [`Turn::model_error`](crate::domain::turn::Turn::model_error).
    pub model_error: Option<String>,
    /// The tokens of model calls that are not counted yet. They count even if the turn belongs to another by now.
    pub tokens: i64,
}

impl Decision for EndTurn {
    type Reply = TurnWriteOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_turn(&self.turn);
        plan.ending.insert((self.turn.workspace, self.turn.conversation));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<TurnWriteOutcome, Error> {
        batch.count_tokens(&self.turn, self.tokens);
        let Some(mut turn) = batch.tables.turns.get(&self.turn.turn).cloned() else {
            return Ok(TurnWriteOutcome::FencedOff(None));
        };
        let is_late = turn.deadline_at.is_some_and(|deadline| deadline <= batch.context.now);
        let (is_authorized, by_owner) = match self.authority {
            EndAuthority::Owner { fence } => (batch.owns(&turn, fence), true),
            EndAuthority::Deadline => (is_late, false),
            EndAuthority::Overdue { fence } => (turn.fence == fence, false),
            EndAuthority::ClientGone => (true, false),
        };
        if !is_authorized || !turn.state.is_open() {
            return Ok(TurnWriteOutcome::FencedOff(Some(Box::new(turn))));
        }
        batch.changes.journal.extend(self.journal.clone());
        turn.model_error = if by_owner {
            self.model_error.clone().or(turn.model_error)
        } else {
            turn.model_error.or_else(|| self.model_error.clone())
        };
        // The client hears of a timeout, so a late reply must not be stored.
        let too_late = TurnEnd::Failed(Failure::Timeout);
        let is_reply = matches!(self.end, TurnEnd::Completed(_));
        let ended = batch.close(turn, if is_late && is_reply { &too_late } else { &self.end }, by_owner);
        batch.start_next(self.turn.workspace, self.turn.conversation);
        Ok(TurnWriteOutcome::Accepted(Box::new(ended)))
    }
}

impl Command for EndTurn {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.turn.workspace
    }

    fn bytes(&self) -> usize {
        let reply = match &self.end {
            TurnEnd::Completed(reply) => {
                let earlier = reply.earlier_texts.as_ref().map_or(0, String::len);
                reply.text.len() + reply.function_calls.len() + earlier
            }
            TurnEnd::Failed(_) | TurnEnd::Discarded(_) => 0,
        };
        let journal = self.journal.as_ref().map_or(0, |row| row.content.len());
        reply + journal + self.model_error.as_ref().map_or(0, String::len) + 512
    }

    fn may_start(&self) -> &[Api] {
        Api::ALL
    }
}
