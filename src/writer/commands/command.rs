//! The items that the writer takes, and what each comes to.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::domain::calendar::BookingWrite;
use crate::domain::conversation::{
    Conversation, ConversationKind, ConversationPatch, CreatedConversation, SenderType,
};
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{
    AssistantId, ConversationId, DeliveryId, EndpointId, MessageId, TurnId, WidgetUuid, WorkspaceId,
};
use crate::domain::journal::JournalRow;
use crate::domain::ledger::LedgerEntry;
use crate::domain::money::Money;
use crate::domain::render::RenderedResponse;
use crate::domain::turn::{Api, Turn, TurnEnd, TurnRef};
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, EndpointPatch, NewEndpoint};

/// One thing for a batch to decide.
#[derive(Clone, Debug)]
pub enum Command {
    Admit(Box<Admission>),
    Create(Box<NewConversation>),
    End(Box<EndTurn>),
    Journal(Box<JournalAppend>),
    Retry(Retry),
    HandBack(HandBack),
    Update(Box<UpdateConversation>),
    RenewLink(LinkRenewal),
    TopUp(TopUp),
    Endpoint(Box<EndpointWrite>),
}

/// What an item came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    Admitted(AdmitOutcome),
    Created(CreateOutcome),
    TurnWrite(TurnWriteOutcome),
    Journaled {
        turn_write: TurnWriteOutcome,
        /// The result of a call that was decided under the locks.
        result: Option<Value>,
    },
    Conversation(Box<Conversation>),
    LinkRenewed,
    ToppedUp(LedgerEntry),
    /// As it now is.
    Endpoint(Box<Endpoint>),
    /// The delivery of a test event.
    Tested(DeliveryId),
}

/// A message that someone sends, through either API.
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
    /// As it was sent; absent means yes.
    pub auto_reply: Option<bool>,
    pub idempotency: Option<IdempotencyRequest>,
    /// When the widget client gives up.
    pub deadline: Option<Instant>,
    /// A key of the workspace came with it: the limit of test turns does not hold.
    pub has_api_key: bool,
}

/// The conversation that a message goes to.
#[derive(Clone, Debug)]
pub enum Target {
    /// By the id in our keys, and the name that the client used for it.
    Existing { id: ConversationId, name: String },
    /// One of type `api` that the message makes.
    New { id: ConversationId, assistant: AssistantId },
}

/// What an admission came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitOutcome {
    /// Stored, and answered at once; `turn` is the one that was made.
    Answered { answer: RenderedResponse, turn: Option<TurnId> },
    /// Stored; the answer comes when this turn ends.
    Waiting(TurnId),
    /// The key's stored answer.
    Replayed { answer: RenderedResponse, turn: Option<TurnId> },
    /// The key's turn is open; its end gives the answer.
    InFlightDuplicate(TurnId),
}

/// A conversation to be made.
#[derive(Clone, Debug)]
pub struct NewConversation {
    pub workspace: WorkspaceId,
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub assistant: AssistantId,
    /// Its UUID on the widget API; types `widget` and `test` have one from birth.
    pub link: Option<WidgetUuid>,
    /// The assistant's first message, its variables filled in.
    pub first_message: Option<(MessageId, String)>,
    /// A JSON object.
    pub key_variables: String,
    /// A JSON object.
    pub visitor_variables: String,
    pub metadata: Option<String>,
    pub external_identifier: Option<String>,
    /// Refuse where the balance does not cover one message of the type.
    pub check_balance: bool,
    pub idempotency: Option<IdempotencyRequest>,
}

/// What a creation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    Created(Box<CreatedConversation>),
    /// The key's stored answer.
    Replayed(RenderedResponse),
}

/// By what right a turn is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndAuthority {
    /// Its owner, with the fence that it was given.
    Owner { fence: i64 },
    /// Anyone, once its deadline has passed.
    Deadline,
    /// The sweeper, that found it to be over its bounds with this fence: nothing has happened to it since.
    Overdue { fence: i64 },
    /// The process that admitted it: its client has been told that it failed, or is told so as it stops.
    ClientGone,
}

/// The end of a turn.
#[derive(Clone, Debug)]
pub struct EndTurn {
    pub turn: TurnRef,
    pub authority: EndAuthority,
    pub end: TurnEnd,
    /// The last answer of the turn, for its journal.
    pub journal: Option<JournalRow>,
}

/// Whether a write of a turn's owner took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnWriteOutcome {
    /// It did; the turn as it now is.
    Accepted(Box<Turn>),
    /// It changed nothing: the turn was fenced off, or has ended. As it now is, if it is there.
    FencedOff(Option<Box<Turn>>),
}

/// Rows for a turn's journal.
#[derive(Clone, Debug)]
pub struct JournalAppend {
    pub turn: TurnRef,
    pub fence: i64,
    /// New rows: an answer, and its calls with their start.
    pub rows: Vec<JournalRow>,
    /// A result of a call whose row is there.
    pub result: Option<JournalRow>,
    /// A call over our own store: its result is decided here, and kept in the row named by `result`.
    pub write: Option<BookingWrite>,
}

/// An attempt has failed in a way that can pass: the next begins after `delay`.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub turn: TurnRef,
    pub fence: i64,
    pub delay: Duration,
}

/// A turn goes back to whoever claims it, from `delay` on. No attempt is spent.
#[derive(Clone, Copy, Debug)]
pub struct HandBack {
    pub turn: TurnRef,
    pub fence: i64,
    pub delay: Duration,
}

/// A conversation changes.
#[derive(Clone, Debug)]
pub struct UpdateConversation {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub patch: ConversationPatch,
}

/// A conversation gets a new widget UUID; the old one is then unknown.
#[derive(Clone, Copy, Debug)]
pub struct LinkRenewal {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub link: WidgetUuid,
}

/// Credit for a workspace; a reference counts once.
#[derive(Clone, Debug)]
pub struct TopUp {
    pub workspace: WorkspaceId,
    pub amount: Money,
    pub reference: String,
}

/// A webhook endpoint is written.
#[derive(Clone, Debug)]
pub struct EndpointWrite {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub action: EndpointAction,
}

/// An endpoint whose answers ask for it is to be disabled.
#[derive(Clone, Debug)]
pub struct DisableEndpoint {
    pub reason: DisabledReason,
    /// Where the answers came from.
    pub url: String,
}

/// What becomes of a webhook endpoint.
#[derive(Clone, Debug)]
pub enum EndpointAction {
    Create(Box<NewEndpoint>),
    Update(Box<EndpointPatch>),
    /// Its answers ask for it. Nothing changes where it takes no events any more, has another URL now, or
    /// has not [failed for long](Endpoint::should_disable) any more.
    Disable(DisableEndpoint),
    /// Out of use: by the workspace file, which may bring it back, or for good.
    Archive {
        by_file: bool,
    },
    /// An event is sent to it alone.
    Test,
}
