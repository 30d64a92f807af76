//! Cancels an open turn of a conversation, at the request of a client.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::turn::{Api, Turn, TurnEnd, TurnState};
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Copy, Debug)]
pub struct CancelTurn {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    /// `None`: the oldest open turn.
    pub turn: Option<TurnId>,
    /// Only a turn that came through this API.
    pub api: Option<Api>,
}

impl Decision for CancelTurn {
    /// The turn: discarded, or running if its owner was asked to stop it. `None` if there is no such open turn.
    type Reply = Option<Turn>;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.conversation);
        plan.ending.insert((self.workspace, self.conversation));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Option<Turn>, Error> {
        let open = batch.tables.open.get(&self.conversation).into_iter().flat_map(|open| open.values());
        let mut turns = open.filter_map(|id| batch.tables.turns.get(id));
        let turn = turns.find(|turn| {
            turn.workspace == self.workspace
                && self.turn.is_none_or(|id| id == turn.id)
                && self.api.is_none_or(|api| api == turn.api)
        });
        let Some(mut turn) = turn.cloned() else { return Ok(None) };
        match turn.state {
            TurnState::Running => {
                batch.request_stop(&mut turn);
                Ok(Some(turn))
            }
            TurnState::Waiting | TurnState::Queued => {
                let ended = batch.close(turn, &TurnEnd::Discarded(Discard::Cancelled), false);
                batch.start_next(self.workspace, self.conversation);
                Ok(Some(ended))
            }
            TurnState::Completed | TurnState::Failed | TurnState::Discarded => Ok(None),
        }
    }
}

impl Command for CancelTurn {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn may_start(&self) -> &[Api] {
        Api::ALL
    }
}
