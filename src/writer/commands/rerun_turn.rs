//! Runs a failed turn again, as a new turn of the same message, which is charged anew.

use super::{Command, Decision};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{AssistantId, KeyId, MessageId, ResourceId as _, TurnId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::turn::{Api, Turn, TurnRef, TurnState};
use crate::writer::batch::{Batch, LoadPlan, NewTurn};

#[derive(Clone, Debug)]
pub struct RerunTurn {
    pub failed: TurnRef,
    /// The message of the failed turn.
    pub message: MessageId,
    /// The id of the new turn.
    pub turn: TurnId,
    pub idempotency: Option<IdempotencyRequest>,
    /// The API key that asks for it, to which the new turn counts.
    pub key: KeyId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RerunOutcome {
    /// The new turn, as it is after its admission.
    Opened(Box<Turn>),
    /// The idempotency key has opened this turn before.
    Replayed(TurnId),
}

impl Decision for RerunTurn {
    type Reply = RerunOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_turn(&self.failed);
        plan.messages.insert((self.failed.workspace, self.message));
        plan.idempotency.extend(self.idempotency.as_ref().map(|request| request.key.clone()));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<RerunOutcome, Error> {
        let not_found = |_| TurnId::not_found(self.failed.turn);
        let conversation = batch.live_conversation(self.failed.workspace, self.failed.conversation);
        let conversation = conversation.map_err(not_found)?.clone();
        let record = batch.idempotency_record(self.idempotency.as_ref())?;
        if let Some(turn) = record.and_then(|record| record.turn) {
            return Ok(RerunOutcome::Replayed(turn));
        }
        batch.check_not_suspended(self.failed.workspace)?;
        let mut failed = self.failed_turn(batch)?;
        if conversation.ended_at.is_some() {
            return Err(Error::Conflict("The conversation has ended.".to_owned()));
        }
        if !conversation.ai_enabled {
            return Err(Error::Conflict("The AI of the conversation is switched off.".to_owned()));
        }
        let assistant = batch.tables.assistants.get(&conversation.assistant).copied();
        let assistant = assistant.filter(|assistant| assistant.workspace == self.failed.workspace);
        let assistant = assistant.ok_or_else(|| AssistantId::not_found(conversation.assistant))?;
        batch.check_test_turns(&conversation, true)?;
        batch.check_tokens(&conversation)?;
        batch.check_bounds(&conversation, Api::Platform)?;
        let price = batch.price(&conversation);
        let workspace = batch.tables.workspaces.get(&self.failed.workspace);
        if workspace.map_or(Money::ZERO, |row| row.state.balance) < price {
            return Err(Error::InsufficientBalance);
        }
        failed.retried_by = Some(self.turn);
        let (position, message) = (failed.position, failed.message);
        batch.changes.touch_turn(failed.id);
        batch.tables.put_turn(failed);
        let turn = batch.open_turn(
            &conversation,
            NewTurn {
                id: self.turn,
                position,
                message,
                api: Api::Platform,
                deadline_at: None,
                price,
                assistant_version: assistant.current_version,
                idempotency: None,
                stream_process: None,
                key: Some(self.key),
            },
        );
        batch.put_idempotency_record(self.idempotency.as_ref(), Some(conversation.id), Some(self.turn), None);
        Ok(RerunOutcome::Opened(Box::new(turn)))
    }
}

impl Command for RerunTurn {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.failed.workspace
    }

    fn may_start(&self) -> &[Api] {
        &[Api::Platform]
    }

    /// As for a message: without an idempotency key no client would find the turn.
    fn abandoned_turn(&self, reply: &RerunOutcome) -> Option<TurnRef> {
        let turn = TurnRef { turn: self.turn, ..self.failed };
        let is_new = matches!(reply, RerunOutcome::Opened(_));
        (is_new && self.idempotency.is_none()).then_some(turn)
    }
}

impl RerunTurn {
    /// The failed turn, unless it was run again, or its message was removed.
    fn failed_turn(&self, batch: &Batch<'_>) -> Result<Turn, Error> {
        let turn = batch.tables.turns.get(&self.failed.turn);
        let turn = turn.filter(|turn| turn.workspace == self.failed.workspace);
        let turn = turn.ok_or_else(|| TurnId::not_found(self.failed.turn))?;
        if turn.state != TurnState::Failed {
            let text = format!("Only a failed turn can be retried; this one is {}.", turn.state.as_str());
            return Err(Error::Conflict(text));
        }
        if let Some(next) = turn.retried_by {
            return Err(Error::Conflict(format!("The turn was retried already, by {next}.")));
        }
        if !batch.tables.messages.contains_key(&turn.message) {
            return Err(Error::Conflict("The message of the turn was removed.".to_owned()));
        }
        Ok(turn.clone())
    }
}
