//! Turns: start, change and end.

use super::{Batch, StartedTurn};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind, SenderType};
use crate::domain::event::EventType;
use crate::domain::failure::Discard;
use crate::domain::idempotency::{IdempotencyKey, StoredAnswer};
use crate::domain::ids::{ConversationId, KeyId, MessageId, ProcessId, TurnId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::money::Money;
use crate::domain::render::{self, EventData};
use crate::domain::turn::{Api, Reply, Turn, TurnEnd, TurnRef, TurnState};

/// Whether a write to a turn took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnWriteOutcome {
    /// It did; the new state of the turn.
    Accepted(Box<Turn>),
    /// The turn was not changed, because it was fenced off or has ended; its state, if it exists.
    FencedOff(Option<Box<Turn>>),
}

/// A turn to open.
#[derive(Clone, Debug)]
pub(in crate::writer) struct NewTurn {
    pub id: TurnId,
    /// The position of the message that it answers.
    pub position: i64,
    pub message: MessageId,
    pub api: Api,
    pub deadline_at: Option<Micros>,
    pub price: Money,
    pub assistant_version: i64,
    /// The scope and key under which its response is stored.
    pub idempotency: Option<(String, String)>,
    /// The process that streams its reply.
    pub stream_process: Option<ProcessId>,
    /// The API key that sent its message.
    pub key: Option<KeyId>,
}

impl Batch<'_> {
    /// Charges for a turn and opens it. It starts if no other turn of its conversation is open. Returns it as it is then.
    pub(in crate::writer) fn open_turn(&mut self, conversation: &Conversation, new: NewTurn) -> Turn {
        self.charge(conversation.workspace, conversation.id, new.id, new.price);
        let now = self.context.now;
        let mut turn = Turn {
            workspace: conversation.workspace,
            id: new.id,
            conversation: conversation.id,
            position: new.position,
            message: new.message,
            api: new.api,
            state: TurnState::Waiting,
            owner: None,
            fence: 0,
            attempts: 0,
            takeovers: 0,
            not_before: now,
            admitted_at: now,
            first_started_at: None,
            deadline_at: new.deadline_at,
            price: new.price,
            assistant: conversation.assistant,
            assistant_version: new.assistant_version,
            idempotency: new.idempotency,
            reason: None,
            model_error: None,
            reply: None,
            ended_at: None,
            is_stop_requested: false,
            stream_process: new.stream_process,
            key: new.key,
            retried_by: None,
        };
        if conversation.open_turns == 0 {
            self.start(&mut turn);
        }
        self.count_opened(conversation);
        self.changes.new_turns.push(turn.id);
        self.tables.put_turn(turn.clone());
        turn
    }

    fn count_opened(&mut self, conversation: &Conversation) {
        if let Some(row) = self.tables.conversations.get_mut(&conversation.id) {
            row.open_turns += 1;
        }
        self.daily_usage(conversation.workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&conversation.workspace) {
            row.state.open_turns += 1;
            row.state.day_test_turns += i64::from(conversation.kind == ConversationKind::Test);
            self.changes.touch_workspace(conversation.workspace);
        }
        self.changes.touch_conversation(conversation.id);
    }

    /// Changes a turn and increments its fence, if this process owns it with `fence`.
    pub(in crate::writer) fn update_owned_turn(
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

    pub(in crate::writer) fn owns(&self, turn: &Turn, fence: i64) -> bool {
        turn.state == TurnState::Running && turn.owner == Some(self.context.process) && turn.fence == fence
    }

    /// Discards all open turns of a conversation.
    pub(in crate::writer) fn discard_open(&mut self, conversation: ConversationId, reason: Discard) {
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

    /// Ends a turn; unless its owner does so, the owner is notified.
    pub(in crate::writer) fn close(&mut self, mut turn: Turn, end: &TurnEnd, by_owner: bool) -> Turn {
        // A turn that was started by this batch has no task yet and gets none.
        let started = self.effects.started.len();
        self.effects.started.retain(|started| started.turn.id != turn.id);
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
            Some(owner) => {
                self.changes.cancellations.insert((owner, turn.id), false);
            }
            None => {}
        }
    }

    /// Asks the owner of a running turn to stop it.
    pub(in crate::writer) fn request_stop(&mut self, turn: &mut Turn) {
        turn.is_stop_requested = true;
        self.changes.touch_turn(turn.id);
        self.tables.put_turn(turn.clone());
        match turn.owner {
            Some(owner) if owner == self.context.process => self.effects.stop_requested.push(turn.id),
            Some(owner) => {
                self.changes.cancellations.entry((owner, turn.id)).or_insert(true);
            }
            None => {}
        }
    }

    fn add_reply(&mut self, turn: &Turn, reply: &Reply) {
        let Some(conversation) = self.tables.conversations.get_mut(&turn.conversation) else { return };
        let now = self.context.clock.now();
        let position = conversation.next_position;
        conversation.next_position += 1;
        conversation.updated_at = now;
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
            is_truncated: reply.is_truncated,
            is_stopped: reply.is_stopped,
            earlier_texts: reply.earlier_texts.clone(),
            turn: Some(turn.id),
            created_at: now,
            rating: None,
            rating_comment: None,
        };
        self.changes.touch_conversation(turn.conversation);
        self.emit(turn.workspace, EventType::MessageCreated, &EventData::Message(&message));
        self.changes.messages.push(message);
    }

    fn end_without_reply(&mut self, turn: &mut Turn, kind: EventType, reason: &'static str) {
        turn.reason = Some(reason.to_owned());
        self.refund(turn.workspace, turn.id, turn.price);
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

    /// Records the response for the idempotency key of a widget turn; that of a platform turn was recorded at admission.
    fn complete_idempotency_record(&mut self, turn: &Turn, end: &TurnEnd) {
        if turn.api != Api::Widget {
            return;
        }
        let Some((scope, key)) = turn.idempotency.clone() else { return };
        let key = IdempotencyKey { workspace: turn.workspace, scope, key };
        if let Some(record) = self.tables.idempotency.get_mut(&key)
            && record.turn == Some(turn.id)
        {
            record.answer = StoredAnswer::New(render::widget_turn_end(end));
            self.changes.idempotency.insert(key);
        }
    }

    /// Starts the open turn of the conversation's oldest message, if it has been waiting for the turn that ended. A turn that runs a
    /// failed one again may wait for a turn of a later message.
    pub(in crate::writer) fn start_next(&mut self, workspace: WorkspaceId, conversation: ConversationId) {
        let open = self.tables.open.get(&conversation).into_iter().flat_map(|open| open.values());
        let mut open = open.filter_map(|id| self.tables.turns.get(id));
        let Some(mut turn) = open.next().cloned() else { return };
        let is_waiting = |turn: &Turn| turn.state == TurnState::Waiting;
        if !is_waiting(&turn) || !open.all(is_waiting) || turn.workspace != workspace {
            return;
        }
        self.start(&mut turn);
        self.changes.touch_turn(turn.id);
        self.tables.put_turn(turn);
    }

    /// Starts a turn here if a slot is free, and queues it otherwise, or if another process streams its reply.
    pub(in crate::writer) fn start(&mut self, turn: &mut Turn) {
        turn.not_before = self.context.now;
        let is_of_other = turn.stream_process.is_some_and(|process| process != self.context.process);
        if !is_of_other && self.budget.try_acquire(turn.api, turn.workspace) {
            turn.state = TurnState::Running;
            turn.owner = Some(self.context.process);
            turn.fence += 1;
            turn.first_started_at.get_or_insert(self.context.now);
            self.effects.started.push(StartedTurn { turn: turn.clone(), snapshot: None });
        } else {
            turn.state = TurnState::Queued;
            turn.owner = None;
        }
    }

    pub(in crate::writer) fn price(&self, conversation: &Conversation) -> Money {
        let workspace = self.tables.workspaces.get(&conversation.workspace);
        workspace.map_or(Money::ZERO, |row| row.config.settings.pricing.of(conversation.kind))
    }
}
