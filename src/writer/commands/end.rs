//! The end of a turn, and what its owner writes before: retries and hand-backs.

use super::{Batch, EndAuthority, EndTurn, HandBack, Retry, TurnWriteOutcome};
use crate::domain::conversation::SenderType;
use crate::domain::event::EventType;
use crate::domain::failure::{Discard, Failure};
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::render::{self, EventData};
use crate::domain::turn::{Api, Reply, Turn, TurnEnd, TurnRef, TurnState};

impl Batch<'_> {
    /// Ends a turn, unless who asks has no right to: then nothing is changed.
    pub(super) fn end(&mut self, command: &EndTurn) -> TurnWriteOutcome {
        let Some(turn) = self.tables.turns.get(&command.turn.turn).cloned() else {
            return TurnWriteOutcome::FencedOff(None);
        };
        let is_authorized = match command.authority {
            EndAuthority::Owner { fence } => self.owns(&turn, fence),
            EndAuthority::Deadline => turn.deadline_at.is_some_and(|deadline| deadline <= self.context.now),
            EndAuthority::Overdue { fence } => turn.fence == fence,
            EndAuthority::ClientGone => true,
        };
        if !is_authorized || !turn.state.is_open() {
            return TurnWriteOutcome::FencedOff(Some(Box::new(turn)));
        }
        self.changes.journal.extend(command.journal.clone());
        let by_owner = matches!(command.authority, EndAuthority::Owner { .. });
        // Whoever waited was, or will be, told that it took too long: a reply that comes later is none.
        let is_late = turn.deadline_at.is_some_and(|deadline| deadline <= self.context.now);
        let too_late = TurnEnd::Failed(Failure::Timeout);
        let is_reply = matches!(command.end, TurnEnd::Completed(_));
        let end = if is_late && is_reply { &too_late } else { &command.end };
        let ended = self.close(turn, end, by_owner);
        self.start_next(command.turn.workspace, command.turn.conversation);
        TurnWriteOutcome::Accepted(Box::new(ended))
    }

    /// A failed attempt: the turn stays running, and its next attempt begins after the delay.
    pub(super) fn retry(&mut self, retry: &Retry) -> TurnWriteOutcome {
        let now = self.context.now;
        self.update_owned(&retry.turn, retry.fence, |turn| {
            turn.attempts += 1;
            turn.not_before = now.plus(retry.delay);
        })
    }

    pub(super) fn hand_back(&mut self, hand_back: &HandBack) -> TurnWriteOutcome {
        let now = self.context.now;
        self.update_owned(&hand_back.turn, hand_back.fence, |turn| {
            turn.state = TurnState::Queued;
            turn.owner = None;
            turn.not_before = now.plus(hand_back.delay);
        })
    }

    fn update_owned(
        &mut self,
        turn_ref: &TurnRef,
        fence: i64,
        change: impl FnOnce(&mut Turn),
    ) -> TurnWriteOutcome {
        let Some(mut turn) = self.tables.turns.get(&turn_ref.turn).cloned() else {
            return TurnWriteOutcome::FencedOff(None);
        };
        if !self.owns(&turn, fence) {
            return TurnWriteOutcome::FencedOff(Some(Box::new(turn)));
        }
        turn.fence += 1;
        change(&mut turn);
        self.changes.touch_turn(turn.id);
        self.tables.put_turn(turn.clone());
        TurnWriteOutcome::Accepted(Box::new(turn))
    }

    pub(super) fn owns(&self, turn: &Turn, fence: i64) -> bool {
        turn.state == TurnState::Running && turn.owner == Some(self.context.process) && turn.fence == fence
    }

    /// Ends all open turns of a conversation at once; its replies are not wanted any more.
    pub(super) fn discard_open(&mut self, conversation: ConversationId, reason: Discard) {
        let open: Vec<_> = self
            .tables
            .open
            .get(&conversation)
            .map(|open| open.values().copied().collect())
            .unwrap_or_default();
        for id in open {
            if let Some(turn) = self.tables.turns.get(&id).cloned() {
                self.close(turn, &TurnEnd::Discarded(reason), false);
            }
        }
    }

    fn close(&mut self, mut turn: Turn, end: &TurnEnd, by_owner: bool) -> Turn {
        // One that was to start in this very batch has no task yet, and gets none.
        let started = self.effects.started.len();
        self.effects.started.retain(|started| started.id != turn.id);
        if !by_owner && self.effects.started.len() == started {
            self.notify_owner(&turn);
        }
        match end {
            TurnEnd::Completed(reply) => {
                turn.reply = Some(reply.id);
                self.add_reply(&turn, reply);
            }
            TurnEnd::Failed(failure) => {
                self.end_without_reply(&mut turn, EventType::ReplyFailed, failure.as_str());
            }
            TurnEnd::Discarded(reason) => {
                self.end_without_reply(&mut turn, EventType::ReplyDiscarded, reason.as_str());
            }
        }
        turn.state = end.state();
        turn.owner = None;
        turn.ended_at = Some(self.context.now);
        self.count_closed(turn.workspace, turn.conversation);
        self.complete_idempotency_record(&turn, end);
        self.changes.touch_turn(turn.id);
        self.tables.put_turn(turn.clone());
        self.effects.ended.push((turn.clone(), end.clone()));
        turn
    }

    fn notify_owner(&mut self, turn: &Turn) {
        match turn.owner {
            Some(owner) if owner == self.context.process => self.effects.cancelled.push(turn.id),
            Some(owner) => self.changes.cancellations.push((owner, turn.id)),
            None => {}
        }
    }

    fn add_reply(&mut self, turn: &Turn, reply: &Reply) {
        let Some(conversation) = self.tables.conversations.get_mut(&turn.conversation) else { return };
        let position = conversation.next_position;
        conversation.next_position += 1;
        let message = Message {
            workspace: turn.workspace,
            conversation: turn.conversation,
            position,
            id: reply.id,
            sender_type: SenderType::Assistant,
            sender_id: turn.assistant.to_string(),
            text: reply.text.clone(),
            metadata: None,
            reply_to: Some(turn.message),
            answers: Some(turn.position),
            function_calls: Some(reply.function_calls.clone()),
            turn: Some(turn.id),
            created_at: self.context.clock.now(),
        };
        self.changes.touch_conversation(turn.conversation);
        self.emit(turn.workspace, EventType::MessageCreated, &EventData::Message(&message));
        self.changes.messages.push(message);
    }

    fn end_without_reply(&mut self, turn: &mut Turn, kind: EventType, reason: &'static str) {
        turn.reason = Some(reason.to_owned());
        self.refund(turn.workspace, turn.conversation, turn.id, turn.price);
        let data = EventData::NoReply {
            conversation: turn.conversation,
            turn: turn.id,
            message: turn.message,
            reason,
        };
        self.emit(turn.workspace, kind, &data);
    }

    fn count_closed(&mut self, workspace: WorkspaceId, conversation: ConversationId) {
        if let Some(row) = self.tables.workspaces.get_mut(&workspace) {
            row.state.open_turns -= 1;
            self.changes.touch_workspace(workspace);
        }
        if let Some(row) = self.tables.conversations.get_mut(&conversation) {
            row.open_turns -= 1;
            self.changes.touch_conversation(conversation);
        }
    }

    /// A widget's key keeps what its client is told; a platform's was kept at admission.
    fn complete_idempotency_record(&mut self, turn: &Turn, end: &TurnEnd) {
        if turn.api != Api::Widget {
            return;
        }
        let Some((scope, key)) = turn.idempotency.clone() else { return };
        let key = crate::domain::idempotency::IdempotencyKey { workspace: turn.workspace, scope, key };
        if let Some(record) = self.tables.idempotency.get_mut(&key)
            && record.turn == Some(turn.id)
        {
            record.answer = Some(render::widget_turn_end(end));
            self.changes.idempotency.insert(key);
        }
    }

    /// Starts the conversation's oldest open turn, if that has been waiting for the one that ended.
    fn start_next(&mut self, workspace: WorkspaceId, conversation: ConversationId) {
        let oldest = self.tables.open.get(&conversation).and_then(|open| open.values().next());
        let Some(mut turn) = oldest.and_then(|id| self.tables.turns.get(id)).cloned() else { return };
        if turn.state != TurnState::Waiting || turn.workspace != workspace {
            return;
        }
        self.start(&mut turn);
        self.changes.touch_turn(turn.id);
        self.tables.put_turn(turn);
    }
}
