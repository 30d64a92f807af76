//! Admits a message: stores it, charges for its turn and starts that, or refuses it without a change. The contract of each
//! API determines the order of the checks.

use std::slice;
use std::time::Instant;

use super::{Command, Decision};
use crate::domain::assistant::AssistantSummary;
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind, SenderType};
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::failure::Failure;
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use crate::domain::identity::Identity;
use crate::domain::ids::{
    AssistantId, ConversationId, KeyId, MessageId, ResourceId as _, TurnId, WorkspaceId,
};
use crate::domain::message::{Message, MessageRef};
use crate::domain::money::Money;
use crate::domain::render::{self, EventData, NoReplyReason, RenderedResponse};
use crate::domain::turn::{Api, TurnRef};
use crate::writer::batch::{Batch, LoadPlan, NewTurn};

/// A message, sent through either API.
#[derive(Clone, Debug)]
pub struct Admission {
    pub workspace: WorkspaceId,
    pub api: Api,
    pub target: Target,
    pub message: MessageId,
    pub turn: TurnId,
    pub sender_type: SenderType,
    pub sender_id: String,
    pub text: String,
    /// A JSON object.
    pub metadata: Option<String>,
    pub reply_to: Option<MessageId>,
    /// As it was sent; `None` means yes.
    pub auto_reply: Option<bool>,
    pub idempotency: Option<IdempotencyRequest>,
    /// When the widget client gives up.
    pub deadline: Option<Instant>,
    /// The API key that was sent; with one, test turns are not limited.
    pub key: Option<KeyId>,
    /// The identified visitor, in a conversation of theirs.
    pub identity: Option<Identity>,
    /// This process streams the reply, and others may share the database: it runs the turn while it can.
    pub runs_here: bool,
}

/// The conversation of a message.
#[derive(Clone, Debug)]
pub enum Target {
    /// By its id, and by the name that the client used for it.
    Existing { id: ConversationId, name: String },
    /// A conversation of type `api` that is created with the message.
    New { id: ConversationId, assistant: AssistantId },
}

impl Target {
    /// The conversation's id.
    #[must_use]
    pub fn id(&self) -> ConversationId {
        match self {
            Self::Existing { id, .. } | Self::New { id, .. } => *id,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitOutcome {
    /// Stored and answered at once; `turn` generates the reply, if there is to be one.
    Answered { answer: RenderedResponse, turn: Option<TurnId> },
    /// Stored; the end of this turn gives the response.
    Waiting(TurnId),
    /// The idempotency key has a stored response, which the caller reads: a batch with large ones would need too much memory.
    Replayed {
        key: IdempotencyKey,
        turn: Option<TurnId>,
        /// The `Rejoinder-Warning` of the first response.
        warning: Option<String>,
    },
    /// The turn of the idempotency key is open; its end gives the response.
    InFlightDuplicate {
        turn: TurnId,
        /// The `Rejoinder-Warning` of the first response.
        warning: Option<String>,
    },
}

impl Decision for Admission {
    type Reply = AdmitOutcome;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_conversation(self.workspace, self.target.id());
        match &self.target {
            Target::Existing { id, .. } if self.sender_type == SenderType::Agent => {
                plan.ending.insert((self.workspace, *id));
            }
            Target::Existing { .. } => {}
            Target::New { assistant, .. } => {
                plan.assistants.insert((self.workspace, *assistant));
                plan.idempotency.extend(self.idempotency.as_ref().map(|request| request.key.erased()));
            }
        }
        plan.messages.extend(self.reply_to.map(|id| (self.workspace, id)));
        plan.idempotency.extend(self.idempotency.as_ref().map(|request| request.key.clone()));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<AdmitOutcome, Error> {
        let conversation = self.target(batch)?;
        self.check_reply_to(batch, &conversation)?;
        if let Some(replayed) = self.replay(batch)? {
            return Ok(replayed);
        }
        batch.check_not_suspended(self.workspace)?;
        let assistant = self.assistant(batch, &conversation)?;
        match self.api {
            Api::Widget => self.admit_widget(batch, &conversation, assistant),
            Api::Platform => self.admit_platform(batch, conversation, assistant),
        }
    }
}

impl Command for Admission {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.metadata.as_ref().map_or(0, String::len) + 512
    }

    fn may_start(&self) -> &[Api] {
        slice::from_ref(&self.api)
    }

    /// A retry with an idempotency key finds the turn; without one, nobody would.
    fn abandoned_turn(&self, reply: &AdmitOutcome) -> Option<TurnRef> {
        let (AdmitOutcome::Waiting(turn) | AdmitOutcome::Answered { turn: Some(turn), .. }) = *reply else {
            return None;
        };
        let turn = TurnRef { workspace: self.workspace, conversation: self.target.id(), turn };
        self.idempotency.is_none().then_some(turn)
    }
}

impl Admission {
    fn target(&self, batch: &Batch<'_>) -> Result<Conversation, Error> {
        match &self.target {
            Target::Existing { id, name } => {
                let found = batch.live_conversation(self.workspace, *id).cloned();
                found.map_err(|_| ConversationId::not_found(name))
            }
            Target::New { id, assistant } => {
                let now = batch.context.clock.now();
                let kind = ConversationKind::Api;
                Ok(Conversation::new(self.workspace, *id, kind, *assistant, now))
            }
        }
    }

    fn check_reply_to(&self, batch: &Batch<'_>, conversation: &Conversation) -> Result<(), Error> {
        let Some(id) = self.reply_to else { return Ok(()) };
        let exists = batch.tables.messages.get(&id).is_some_and(|message| {
            message.workspace == self.workspace && message.conversation == conversation.id
        });
        if exists { Ok(()) } else { Err(MessageId::not_found(id)) }
    }

    fn replay(&self, batch: &Batch<'_>) -> Result<Option<AdmitOutcome>, Error> {
        let Some(record) = batch.idempotency_record(self.idempotency.as_ref())? else { return Ok(None) };
        let (turn, warning) = (record.turn, record.warning.clone());
        if record.answer.is_answered() {
            return Ok(Some(AdmitOutcome::Replayed { key: record.key.clone(), turn, warning }));
        }
        Ok(turn.map(|turn| AdmitOutcome::InFlightDuplicate { turn, warning }))
    }

    fn assistant(&self, batch: &Batch<'_>, conversation: &Conversation) -> Result<AssistantSummary, Error> {
        let assistant = batch.tables.assistants.get(&conversation.assistant).copied();
        // An archived assistant still answers in its existing conversations.
        let is_new = matches!(self.target, Target::New { .. });
        assistant
            .filter(|assistant| assistant.workspace == self.workspace && !(is_new && assistant.archived))
            .ok_or_else(|| AssistantId::not_found(conversation.assistant))
    }

    fn admit_widget(
        &self,
        batch: &mut Batch<'_>,
        conversation: &Conversation,
        assistant: AssistantSummary,
    ) -> Result<AdmitOutcome, Error> {
        if conversation.ended_at.is_some() {
            return Err(Error::Processing(Failure::ConversationEnded));
        }
        batch.check_message_count(conversation)?;
        if !conversation.ai_enabled {
            let answer = render::widget_ai_disabled();
            self.store_message(batch, conversation, None);
            batch.put_idempotency_record(
                self.idempotency.as_ref(),
                Some(conversation.id),
                None,
                Some(answer.clone()),
            );
            return Ok(AdmitOutcome::Answered { answer, turn: None });
        }
        batch.check_spending(conversation, self.key.is_some())?;
        batch.check_tokens(conversation)?;
        let price = batch.price(conversation);
        if self.balance(batch) < price {
            return Err(Error::InsufficientBalance);
        }
        batch.check_bounds(conversation, self.api)?;
        self.store_message(batch, conversation, Some(self.turn));
        self.create_turn(batch, conversation, assistant, price);
        batch.put_idempotency_record(self.idempotency.as_ref(), Some(conversation.id), Some(self.turn), None);
        Ok(AdmitOutcome::Waiting(self.turn))
    }

    fn admit_platform(
        &self,
        batch: &mut Batch<'_>,
        mut conversation: Conversation,
        assistant: AssistantSummary,
    ) -> Result<AdmitOutcome, Error> {
        let pauses = assistant.pause_on_agent_message
            && self.sender_type == SenderType::Agent
            && self.auto_reply != Some(true)
            && conversation.ended_at.is_none();
        let ai_before = conversation.ai_enabled;
        conversation.ai_enabled &= !pauses;
        let reason = self.no_reply_reason(batch, &conversation);
        if reason.is_none() {
            batch.check_test_turns(&conversation, self.key.is_some())?;
            batch.check_tokens(&conversation)?;
            batch.check_bounds(&conversation, self.api)?;
        }
        if matches!(self.target, Target::New { .. }) {
            batch.insert_conversation(&Conversation { ai_enabled: ai_before, ..conversation.clone() }, None);
        }
        if ai_before && !conversation.ai_enabled {
            batch.update_conversation(conversation.id, Some(false), None);
        }
        let turn = reason.is_none().then_some(self.turn);
        let message = self.store_message(batch, &conversation, turn);
        if reason.is_none() {
            let price = batch.price(&conversation);
            self.create_turn(batch, &conversation, assistant, price);
        }
        let answer = render::acknowledgement(&message, reason);
        batch.put_idempotency_record(
            self.idempotency.as_ref(),
            Some(conversation.id),
            turn,
            Some(answer.clone()),
        );
        Ok(AdmitOutcome::Answered { answer, turn })
    }

    /// The reason why a platform message gets no reply; `None` if it gets one.
    fn no_reply_reason(&self, batch: &Batch<'_>, conversation: &Conversation) -> Option<NoReplyReason> {
        if self.auto_reply == Some(false) {
            Some(NoReplyReason::AutoReplyOff)
        } else if conversation.ended_at.is_some() {
            Some(NoReplyReason::ConversationEnded)
        } else if !conversation.ai_enabled {
            Some(NoReplyReason::AiDisabled)
        } else if self.balance(batch) < batch.price(conversation) {
            Some(NoReplyReason::InsufficientBalance)
        } else {
            None
        }
    }

    fn balance(&self, batch: &Batch<'_>) -> Money {
        batch.tables.workspaces.get(&self.workspace).map_or(Money::ZERO, |row| row.state.balance)
    }

    fn store_message(
        &self,
        batch: &mut Batch<'_>,
        conversation: &Conversation,
        turn: Option<TurnId>,
    ) -> Message {
        batch.keep_conversation(conversation.id);
        if let Some(identity) = &self.identity {
            batch.renew_identity(conversation.id, identity);
        }
        let now = batch.context.clock.now();
        let mut position = conversation.next_position;
        if let Some(row) = batch.tables.conversations.get_mut(&conversation.id) {
            position = row.next_position;
            row.next_position += 1;
            row.updated_at = now;
            batch.changes.touch_conversation(conversation.id);
        }
        let message = Message {
            workspace: self.workspace,
            conversation: conversation.id,
            position,
            id: self.message,
            sender_type: self.sender_type,
            sender_id: self.sender_id.clone(),
            text: self.text.clone(),
            metadata: self.metadata.clone(),
            reply_to: self.reply_to,
            answers: None,
            function_calls: None,
            is_truncated: false,
            is_stopped: false,
            earlier_texts: None,
            turn,
            created_at: now,
            rating: None,
            rating_comment: None,
        };
        let message_ref =
            MessageRef { workspace: message.workspace, conversation: conversation.id, position };
        batch.tables.messages.insert(message.id, message_ref);
        batch.emit(self.workspace, EventType::MessageCreated, &EventData::Message(&message));
        batch.changes.messages.push(message.clone());
        message
    }

    fn create_turn(
        &self,
        batch: &mut Batch<'_>,
        conversation: &Conversation,
        assistant: AssistantSummary,
        price: Money,
    ) {
        let deadline = self.deadline.map(|at| at.saturating_duration_since(batch.context.instant));
        let idempotency = self.idempotency.as_ref();
        batch.open_turn(
            conversation,
            NewTurn {
                id: self.turn,
                position: conversation.next_position,
                message: self.message,
                api: self.api,
                deadline_at: deadline.map(|left| batch.context.now.plus(left)),
                price,
                assistant_version: assistant.current_version,
                idempotency: idempotency.map(|request| (request.key.scope.clone(), request.key.key.clone())),
                stream_process: self.runs_here.then_some(batch.context.process),
                key: self.key,
            },
        );
    }
}
