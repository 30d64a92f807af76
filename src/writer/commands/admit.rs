//! Admission: a message is stored, charged for and given its turn, or refused
//! without a trace. The order of the checks is the contract of each API.

use super::{Admission, AdmitOutcome, Batch, Target};
use crate::domain::assistant::AssistantSummary;
use crate::domain::conversation::{Conversation, ConversationKind, SenderType};
use crate::domain::error::{Error, ResourceKind};
use crate::domain::event::EventType;
use crate::domain::failure::Failure;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::message::{Message, MessageRef};
use crate::domain::money::Money;
use crate::domain::render::{self, EventData, NoReplyReason};
use crate::domain::turn::{Api, Turn, TurnState};

impl Batch<'_> {
    /// Admits a message, or says why not; a refusal has changed nothing.
    pub(super) fn admit(&mut self, admission: &Admission) -> Result<AdmitOutcome, Error> {
        let conversation = self.target(admission)?;
        self.check_reply_to(admission, &conversation)?;
        if let Some(replayed) = self.replay(admission.idempotency.as_ref())? {
            return Ok(replayed);
        }
        let assistant = self.assistant(admission, &conversation)?;
        match admission.api {
            Api::Widget => self.admit_widget(admission, &conversation, assistant),
            Api::Platform => self.admit_platform(admission, conversation, assistant),
        }
    }

    fn target(&self, admission: &Admission) -> Result<Conversation, Error> {
        match &admission.target {
            Target::Existing { id, name } => {
                let found = self
                    .tables
                    .conversations
                    .get(id)
                    .filter(|found| found.workspace == admission.workspace && found.deleted_at.is_none());
                found.cloned().ok_or_else(|| Error::not_found(ResourceKind::Conversation, name))
            }
            Target::New { id, assistant } => {
                let now = self.context.clock.now();
                let kind = ConversationKind::Api;
                Ok(Conversation::new(admission.workspace, *id, kind, *assistant, now))
            }
        }
    }

    fn check_reply_to(&self, admission: &Admission, conversation: &Conversation) -> Result<(), Error> {
        let Some(id) = admission.reply_to else { return Ok(()) };
        let exists = self.tables.messages.get(&id).is_some_and(|message| {
            message.workspace == admission.workspace && message.conversation == conversation.id
        });
        if exists { Ok(()) } else { Err(Error::not_found(ResourceKind::Message, id.to_string())) }
    }

    fn replay(&self, request: Option<&IdempotencyRequest>) -> Result<Option<AdmitOutcome>, Error> {
        let Some(record) = self.idempotency_record(request)? else { return Ok(None) };
        Ok(match (&record.answer, record.turn) {
            (Some(answer), turn) => Some(AdmitOutcome::Replayed { answer: answer.clone(), turn }),
            (None, Some(turn)) => Some(AdmitOutcome::InFlightDuplicate(turn)),
            (None, None) => None,
        })
    }

    fn assistant(
        &self,
        admission: &Admission,
        conversation: &Conversation,
    ) -> Result<AssistantSummary, Error> {
        let assistant = self.tables.assistants.get(&conversation.assistant).copied();
        // An archived one goes on answering where it already does.
        let is_new = matches!(admission.target, Target::New { .. });
        assistant
            .filter(|assistant| assistant.workspace == admission.workspace && !(is_new && assistant.archived))
            .ok_or_else(|| Error::not_found(ResourceKind::Assistant, conversation.assistant.to_string()))
    }

    fn admit_widget(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
        assistant: AssistantSummary,
    ) -> Result<AdmitOutcome, Error> {
        if conversation.ended_at.is_some() {
            return Err(Error::Processing(Failure::ConversationEnded));
        }
        if !conversation.ai_enabled {
            let answer = render::widget_ai_disabled();
            self.store_message(admission, conversation, None);
            self.put_idempotency_record(admission.idempotency.as_ref(), None, Some(answer.clone()));
            return Ok(AdmitOutcome::Answered { answer, turn: None });
        }
        self.check_caps(admission, conversation)?;
        let price = self.price(conversation);
        if self.balance(admission) < price {
            return Err(Error::InsufficientBalance);
        }
        self.check_bounds(admission, conversation)?;
        self.store_message(admission, conversation, Some(admission.turn));
        self.create_turn(admission, conversation, assistant, price);
        self.put_idempotency_record(admission.idempotency.as_ref(), Some(admission.turn), None);
        Ok(AdmitOutcome::Waiting(admission.turn))
    }

    fn admit_platform(
        &mut self,
        admission: &Admission,
        mut conversation: Conversation,
        assistant: AssistantSummary,
    ) -> Result<AdmitOutcome, Error> {
        let pauses = assistant.pause_on_agent_message
            && admission.sender_type == SenderType::Agent
            && admission.auto_reply != Some(true)
            && conversation.ended_at.is_none();
        let ai_before = conversation.ai_enabled;
        conversation.ai_enabled &= !pauses;
        let reason = self.no_reply_reason(admission, &conversation);
        if reason.is_none() {
            self.check_test_turns(admission, &conversation)?;
            self.check_bounds(admission, &conversation)?;
        }
        if matches!(admission.target, Target::New { .. }) {
            self.insert_conversation(&Conversation { ai_enabled: ai_before, ..conversation.clone() }, None);
        }
        if ai_before && !conversation.ai_enabled {
            self.update_conversation(conversation.id, Some(false), None);
        }
        let turn = reason.is_none().then_some(admission.turn);
        let message = self.store_message(admission, &conversation, turn);
        if reason.is_none() {
            let price = self.price(&conversation);
            self.create_turn(admission, &conversation, assistant, price);
        }
        let answer = render::acknowledgement(&message, reason);
        self.put_idempotency_record(admission.idempotency.as_ref(), turn, Some(answer.clone()));
        Ok(AdmitOutcome::Answered { answer, turn })
    }

    /// Why a platform message gets no reply, if it gets none.
    fn no_reply_reason(&self, admission: &Admission, conversation: &Conversation) -> NoReplyReason {
        if admission.auto_reply == Some(false) {
            Some("auto_reply_off")
        } else if conversation.ended_at.is_some() {
            Some("conversation_ended")
        } else if !conversation.ai_enabled {
            Some("ai_disabled")
        } else if self.balance(admission) < self.price(conversation) {
            Some("insufficient_balance")
        } else {
            None
        }
    }

    pub(super) fn price(&self, conversation: &Conversation) -> Money {
        let workspace = self.tables.workspaces.get(&conversation.workspace);
        workspace.map_or(Money::ZERO, |row| row.settings.pricing.of(conversation.kind))
    }

    fn balance(&self, admission: &Admission) -> Money {
        self.tables.workspaces.get(&admission.workspace).map_or(Money::ZERO, |row| row.state.balance)
    }

    fn message(
        &self,
        admission: &Admission,
        conversation: ConversationId,
        position: i64,
        turn: Option<TurnId>,
    ) -> Message {
        Message {
            workspace: admission.workspace,
            conversation,
            position,
            id: admission.message,
            sender_type: admission.sender_type,
            sender_id: admission.sender_id.clone(),
            text: admission.text.clone(),
            metadata: admission.metadata.clone(),
            reply_to: admission.reply_to,
            answers: None,
            function_calls: None,
            turn,
            created_at: self.context.clock.now(),
        }
    }

    fn store_message(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
        turn: Option<TurnId>,
    ) -> Message {
        let mut position = conversation.next_position;
        if let Some(row) = self.tables.conversations.get_mut(&conversation.id) {
            position = row.next_position;
            row.next_position += 1;
            self.changes.touch_conversation(conversation.id);
        }
        let message = self.message(admission, conversation.id, position, turn);
        let message_ref =
            MessageRef { workspace: message.workspace, conversation: conversation.id, position };
        self.tables.messages.insert(message.id, message_ref);
        self.emit(admission.workspace, EventType::MessageCreated, &EventData::Message(&message));
        self.changes.messages.push(message.clone());
        message
    }

    fn create_turn(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
        assistant: AssistantSummary,
        price: Money,
    ) {
        self.charge(admission.workspace, conversation.id, admission.turn, price);
        let now = self.context.now;
        let deadline = admission.deadline.map(|at| at.saturating_duration_since(self.context.instant));
        let mut turn = Turn {
            workspace: admission.workspace,
            id: admission.turn,
            conversation: conversation.id,
            position: conversation.next_position,
            message: admission.message,
            api: admission.api,
            state: TurnState::Waiting,
            owner: None,
            fence: 0,
            attempts: 0,
            takeovers: 0,
            not_before: now,
            admitted_at: now,
            first_started_at: None,
            deadline_at: deadline.map(|left| now.plus(left)),
            price,
            assistant: conversation.assistant,
            assistant_version: assistant.current_version,
            idempotency: admission
                .idempotency
                .as_ref()
                .map(|key| (key.key.scope.clone(), key.key.key.clone())),
            reason: None,
            reply: None,
            ended_at: None,
        };
        let is_first = conversation.open_turns == 0;
        if is_first {
            self.start(&mut turn);
        }
        self.count_opened(admission, conversation);
        self.changes.new_turns.push(turn.id);
        self.tables.put_turn(turn);
    }

    fn count_opened(&mut self, admission: &Admission, conversation: &Conversation) {
        if let Some(row) = self.tables.conversations.get_mut(&conversation.id) {
            row.open_turns += 1;
        }
        self.daily_usage(admission.workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&admission.workspace) {
            row.state.open_turns += 1;
            row.state.day_test_turns += i64::from(conversation.kind == ConversationKind::Test);
            self.changes.touch_workspace(admission.workspace);
        }
    }
}
