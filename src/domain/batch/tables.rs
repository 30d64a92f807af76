//! The rows that a batch has read, and those that it will write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::calendar::{BookingState, Interval};
use crate::domain::clock::Micros;
use crate::domain::conversation::Conversation;
use crate::domain::event::{Delivery, Event, Subscriber};
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRecord};
use crate::domain::ids::{
    AssistantId, BookingId, CalendarId, ConversationId, EndpointId, MessageId, ProcessId, TurnId, WidgetUuid,
    WorkspaceId,
};
use crate::domain::ledger::LedgerEntry;
use crate::domain::message::Message;
use crate::domain::turn::Turn;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::{Workspace, WorkspaceState};

use super::command::JournalRow;

/// A workspace as a batch needs it.
#[derive(Clone, Debug)]
pub struct WorkspaceRow {
    pub settings: Workspace,
    pub state: WorkspaceState,
    pub subscribers: Vec<Subscriber>,
}

/// What admission needs to know of an assistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssistantSummary {
    pub workspace: WorkspaceId,
    pub current_version: i64,
    pub archived: bool,
    pub pause_on_agent_message: bool,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub position: i64,
}

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub workspace: WorkspaceId,
    pub calendar: CalendarId,
    pub id: BookingId,
    /// The tool call that made it; unique within the calendar.
    pub call: String,
    pub conversation: ConversationId,
    pub time: Interval,
    pub title: String,
    pub name: Option<String>,
    pub email: Option<String>,
    pub notes: Option<String>,
    pub created_at: Micros,
    pub cancelled_at: Option<Micros>,
    /// The address of its resource, where it is on a CalDAV server: that knows when it is now, and whether.
    pub resource: Option<String>,
    /// The turn that is about to put it there: until that is confirmed, it is a hold and no booking.
    pub held_by: Option<TurnId>,
}

impl Booking {
    /// What has become of it.
    #[must_use]
    pub fn state(&self) -> BookingState {
        if self.cancelled_at.is_none() { BookingState::Booked } else { BookingState::Cancelled }
    }
}

/// Rows as they were read under the locks, and as the items before have changed them.
#[derive(Debug, Default)]
pub struct Tables {
    pub workspaces: HashMap<WorkspaceId, WorkspaceRow>,
    pub conversations: HashMap<ConversationId, Conversation>,
    pub assistants: HashMap<AssistantId, AssistantSummary>,
    pub messages: HashMap<MessageId, MessageRef>,
    pub turns: HashMap<TurnId, Turn>,
    /// The open turns of each conversation of which a turn ends in this batch, by position.
    pub open: HashMap<ConversationId, BTreeMap<i64, TurnId>>,
    pub idempotency: HashMap<IdempotencyKey, IdempotencyRecord>,
    /// Live bookings and holds near those that are asked for, and those that are named.
    pub bookings: HashMap<CalendarId, Vec<Booking>>,
    /// References of top-ups that have counted, with the entry's number.
    pub references: HashMap<(WorkspaceId, String), i64>,
    /// All webhook endpoints of each workspace of which one is written in this batch.
    pub endpoints: HashMap<EndpointId, Endpoint>,
}

impl Tables {
    /// Enters a turn, and where it stands in its conversation.
    pub fn put_turn(&mut self, turn: Turn) {
        let open = self.open.entry(turn.conversation).or_default();
        if turn.state.is_open() {
            open.insert(turn.position, turn.id);
        } else {
            open.remove(&turn.position);
        }
        self.turns.insert(turn.id, turn);
    }
}

/// What a batch will write. Changed rows are named here and stand in [`Tables`].
#[derive(Debug, Default)]
pub struct ChangeSet {
    pub workspaces: BTreeSet<WorkspaceId>,
    pub new_conversations: Vec<ConversationId>,
    pub conversations: BTreeSet<ConversationId>,
    /// Those whose metadata changes.
    pub metadata: BTreeSet<ConversationId>,
    pub new_turns: Vec<TurnId>,
    pub turns: BTreeSet<TurnId>,
    pub messages: Vec<Message>,
    pub ledger: Vec<LedgerEntry>,
    pub events: Vec<Event>,
    pub deliveries: Vec<Delivery>,
    pub journal: Vec<JournalRow>,
    /// Results of calls whose row is there already.
    pub results: Vec<JournalRow>,
    pub idempotency: BTreeSet<IdempotencyKey>,
    pub bookings: Vec<Booking>,
    pub cancelled_bookings: Vec<Booking>,
    /// Holds that have become bookings.
    pub confirmed_bookings: Vec<Booking>,
    /// A new link, instead of the one that the conversation had.
    pub links: Vec<(WidgetUuid, WorkspaceId, ConversationId)>,
    pub cancellations: Vec<(ProcessId, TurnId)>,
    pub new_endpoints: Vec<EndpointId>,
    pub endpoints: BTreeSet<EndpointId>,
}

impl ChangeSet {
    pub(super) fn touch_workspace(&mut self, id: WorkspaceId) {
        self.workspaces.insert(id);
    }

    pub(super) fn touch_conversation(&mut self, id: ConversationId) {
        if !self.new_conversations.contains(&id) {
            self.conversations.insert(id);
        }
    }

    pub(super) fn touch_metadata(&mut self, id: ConversationId) {
        if !self.new_conversations.contains(&id) {
            self.metadata.insert(id);
        }
    }

    pub(super) fn touch_turn(&mut self, id: TurnId) {
        if !self.new_turns.contains(&id) {
            self.turns.insert(id);
        }
    }
}
