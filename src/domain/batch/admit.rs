//! Admission: a message is stored, charged for and given its turn, or refused
//! without a trace. The order of the checks is each door's contract.

use super::{Admission, Admitted, AssistantHead, Batch, Target};
use crate::domain::conversation::{Conversation, ConversationKind, SenderType};
use crate::domain::error::{Error, Thing};
use crate::domain::event::EventType;
use crate::domain::failure::Failure;
use crate::domain::idempotency::Presented;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::message::Message;
use crate::domain::money::Money;
use crate::domain::rendered::{self, EventData, NoReply};
use crate::domain::turn::{Door, Turn, TurnState};

impl Batch<'_> {
    /// Admits a message, or says why not; a refusal has changed nothing.
    pub(super) fn admit(&mut self, admission: &Admission) -> Result<Admitted, Error> {
        let conversation = self.target(admission)?;
        self.check_reply_to(admission, &conversation)?;
        if let Some(replayed) = self.replay(admission.idempotency.as_ref())? {
            return Ok(replayed);
        }
        let head = self.head(admission, &conversation)?;
        match admission.door {
            Door::Widget => self.admit_widget(admission, &conversation, head),
            Door::Platform => self.admit_platform(admission, conversation, head),
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
                found.cloned().ok_or_else(|| Error::not_found(Thing::Conversation, name))
            }
            Target::New { id, assistant } => {
                let now = self.setting.clock.now();
                let kind = ConversationKind::Api;
                Ok(Conversation::new(admission.workspace, *id, kind, *assistant, now))
            }
        }
    }

    fn check_reply_to(&self, admission: &Admission, conversation: &Conversation) -> Result<(), Error> {
        let Some(id) = admission.reply_to else { return Ok(()) };
        let is_there = self.tables.messages.get(&id).is_some_and(|message| {
            message.workspace == admission.workspace && message.conversation == conversation.id
        });
        if is_there { Ok(()) } else { Err(Error::not_found(Thing::Message, id.to_string())) }
    }

    fn replay(&self, presented: Option<&Presented>) -> Result<Option<Admitted>, Error> {
        let Some(kept) = self.kept(presented)? else { return Ok(None) };
        Ok(match (&kept.answer, kept.turn) {
            (Some(answer), turn) => Some(Admitted::Replayed { answer: answer.clone(), turn }),
            (None, Some(turn)) => Some(Admitted::Twin(turn)),
            (None, None) => None,
        })
    }

    fn head(&self, admission: &Admission, conversation: &Conversation) -> Result<AssistantHead, Error> {
        let head = self.tables.assistants.get(&conversation.assistant).copied();
        // An archived one goes on answering where it already does.
        let is_new = matches!(admission.target, Target::New { .. });
        head.filter(|head| head.workspace == admission.workspace && !(is_new && head.archived))
            .ok_or_else(|| Error::not_found(Thing::Assistant, conversation.assistant.to_string()))
    }

    fn admit_widget(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
        head: AssistantHead,
    ) -> Result<Admitted, Error> {
        if conversation.ended_at.is_some() {
            return Err(Error::Processing(Failure::ConversationEnded));
        }
        if !conversation.ai_enabled {
            let answer = rendered::widget_ai_disabled();
            self.store_message(admission, conversation, None);
            self.keep(admission.idempotency.as_ref(), None, Some(answer.clone()));
            return Ok(Admitted::Answered { answer, turn: None });
        }
        self.check_caps(admission, conversation)?;
        let price = self.price(conversation);
        if self.balance(admission) < price {
            return Err(Error::InsufficientBalance);
        }
        self.check_bounds(admission, conversation)?;
        self.store_message(admission, conversation, Some(admission.turn));
        self.make_turn(admission, conversation, head, price);
        self.keep(admission.idempotency.as_ref(), Some(admission.turn), None);
        Ok(Admitted::Waiting(admission.turn))
    }

    fn admit_platform(
        &mut self,
        admission: &Admission,
        mut conversation: Conversation,
        head: AssistantHead,
    ) -> Result<Admitted, Error> {
        let pauses = head.pause_on_agent_message
            && admission.sender_type == SenderType::Agent
            && admission.auto_reply != Some(true)
            && conversation.ended_at.is_none();
        let ai_before = conversation.ai_enabled;
        conversation.ai_enabled &= !pauses;
        let reason = self.why_no_reply(admission, &conversation);
        if reason.is_none() {
            self.check_test_turns(admission, &conversation)?;
            self.check_bounds(admission, &conversation)?;
        }
        if matches!(admission.target, Target::New { .. }) {
            self.open_conversation(&Conversation { ai_enabled: ai_before, ..conversation.clone() }, None);
        }
        if ai_before && !conversation.ai_enabled {
            self.update_conversation(conversation.id, Some(false), None);
        }
        let turn = reason.is_none().then_some(admission.turn);
        let message = self.store_message(admission, &conversation, turn);
        if reason.is_none() {
            let price = self.price(&conversation);
            self.make_turn(admission, &conversation, head, price);
        }
        let answer = rendered::acknowledgement(&message, reason);
        self.keep(admission.idempotency.as_ref(), turn, Some(answer.clone()));
        Ok(Admitted::Answered { answer, turn })
    }

    /// Why a platform message gets no reply, if it gets none.
    fn why_no_reply(&self, admission: &Admission, conversation: &Conversation) -> NoReply {
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
            created_at: self.setting.clock.now(),
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
            self.written.touch_conversation(conversation.id);
        }
        let message = self.message(admission, conversation.id, position, turn);
        let place =
            super::MessageRef { workspace: message.workspace, conversation: conversation.id, position };
        self.tables.messages.insert(message.id, place);
        self.emit(admission.workspace, EventType::MessageCreated, &EventData::Message(&message));
        self.written.messages.push(message.clone());
        message
    }

    fn make_turn(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
        head: AssistantHead,
        price: Money,
    ) {
        self.charge(admission.workspace, conversation.id, admission.turn, price);
        let now = self.setting.now;
        let deadline = admission.deadline.map(|at| at.saturating_duration_since(self.setting.instant));
        let mut turn = Turn {
            workspace: admission.workspace,
            id: admission.turn,
            conversation: conversation.id,
            position: conversation.next_position,
            message: admission.message,
            door: admission.door,
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
            assistant_version: head.current_version,
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
        self.written.new_turns.push(turn.id);
        self.tables.put_turn(turn);
    }

    fn count_opened(&mut self, admission: &Admission, conversation: &Conversation) {
        if let Some(row) = self.tables.conversations.get_mut(&conversation.id) {
            row.open_turns += 1;
        }
        self.today(admission.workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&admission.workspace) {
            row.state.open_turns += 1;
            row.state.day_test_turns += i64::from(conversation.kind == ConversationKind::Test);
            self.written.touch_workspace(admission.workspace);
        }
    }
}
