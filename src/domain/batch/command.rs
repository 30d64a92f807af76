//! The items that the writer takes, and what each comes to.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::domain::calendar::{BookingRequest, CalendarRules, CancelRequest, Interval};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind, SenderType};
use crate::domain::event::EventType;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{
    AssistantId, BookingId, CalendarId, ConversationId, DeliveryId, EndpointId, MessageId, TurnId,
    WidgetUuid, WorkspaceId,
};
use crate::domain::ledger::LedgerEntry;
use crate::domain::message::Message;
use crate::domain::money::Money;
use crate::domain::render::RenderedResponse;
use crate::domain::seal::SealedSecret;
use crate::domain::turn::{Api, Turn, TurnEnd};
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint};

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

/// A message that someone sends, through either door.
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
    /// The widget door's name for it; types `widget` and `test` have one from birth.
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

/// A conversation that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedConversation {
    pub conversation: Conversation,
    pub link: Option<WidgetUuid>,
    pub first_message: Option<Message>,
}

/// Names a turn as its owner, or anyone, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnRef {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub turn: TurnId,
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
    /// It changed nothing: someone else had overtaken, or ended, the turn. As it now is, if it is there.
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
    pub write: Option<StoreWrite>,
}

/// A row of the journal: position 0 of a step is the model's answer, 1 and on its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalRow {
    pub turn: TurnRef,
    pub step: i64,
    pub position: i64,
    pub attempt: i64,
    pub started_at: Micros,
    pub finished_at: Option<Micros>,
    /// JSON: the answer with its model and connection, or the call.
    pub content: String,
    /// JSON: what the call returned.
    pub result: Option<String>,
}

/// A call of a tool that changes our own store; decided under the calendar's lock.
#[derive(Clone, Debug)]
pub enum StoreWrite {
    Book {
        calendar: CalendarId,
        rules: Box<CalendarRules>,
        request: BookingRequest,
        id: BookingId,
        /// The call's stable id: a booking that it made is found again, not made twice.
        call: String,
    },
    Cancel {
        calendar: CalendarId,
        request: CancelRequest,
        /// Its event has been removed from the server that it was on: one that is still there is not cancelled.
        is_removed: bool,
    },
    /// Keeps a slot of a calendar on a server free for the call, while the turn is open.
    Hold(Box<Hold>),
    /// What was held is on the server.
    Confirm { calendar: CalendarId, id: BookingId, rules: Box<CalendarRules> },
    /// What was held is not, or must not be, on the server.
    Release { calendar: CalendarId, id: BookingId },
}

/// A slot to be held.
#[derive(Clone, Debug)]
pub struct Hold {
    pub calendar: CalendarId,
    pub rules: CalendarRules,
    pub request: BookingRequest,
    pub id: BookingId,
    /// The call's stable id: what it has held is found again.
    pub call: String,
    /// The calendar's address. What it has elsewhere, from before it had this one, its server does not know of.
    pub url: String,
    /// Where it will be.
    pub resource: String,
    /// When the server says that the calendar is busy.
    pub busy: Vec<Interval>,
}

impl StoreWrite {
    /// The calendar whose row is to be locked.
    #[must_use]
    pub fn calendar(&self) -> CalendarId {
        match self {
            Self::Book { calendar, .. }
            | Self::Cancel { calendar, .. }
            | Self::Confirm { calendar, .. }
            | Self::Release { calendar, .. } => *calendar,
            Self::Hold(hold) => hold.calendar,
        }
    }
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

/// What changes in a conversation, all of it at once; what is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationPatch {
    pub ai_enabled: Option<bool>,
    /// A JSON object, in place of the one that was there.
    pub metadata: Option<String>,
    /// Whether the conversation ends, for good.
    pub ends: bool,
}

impl ConversationPatch {
    /// Whether replies in the making may have to be discarded.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.ends || self.ai_enabled == Some(false)
    }
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
    /// has not [failed for long](Endpoint::has_failed_for_long) any more.
    Disable(DisableEndpoint),
    /// Out of use: by the workspace file, which may bring it back, or for good.
    Archive {
        by_file: bool,
    },
    /// An event is sent to it alone.
    Test,
}

/// A webhook endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its name in the workspace file, which makes it; none for one that the API makes.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    pub secret: SealedSecret,
    /// It begins disabled.
    pub disabled: Option<DisabledReason>,
}

/// What changes in a webhook endpoint; what is not named stays as it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointPatch {
    pub url: Option<String>,
    /// Empty: all.
    pub types: Option<Vec<EventType>>,
    pub description: Option<Option<String>>,
    /// A new secret, and for how long the old one signs too.
    pub secret: Option<(SealedSecret, Duration)>,
    pub switch: Option<Switch>,
    /// Whether it is brought back where it was archived.
    pub restores: bool,
}

/// Whether an endpoint is to take events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Its failures are forgotten.
    On,
    Off(DisabledReason),
}
