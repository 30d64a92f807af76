//! The rows that a batch has read, and those that it will write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::assistant::AssistantSummary;
use crate::domain::calendar::Booking;
use crate::domain::conversation::Conversation;
use crate::domain::event::{Delivery, Event, Subscriber};
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRecord};
use crate::domain::ids::{
    AssistantId, CalendarId, ConversationId, EndpointId, MessageId, ProcessId, TurnId, WidgetUuid,
    WorkspaceId,
};
use crate::domain::journal::JournalRow;
use crate::domain::ledger::LedgerEntry;
use crate::domain::message::{Message, MessageRef};
use crate::domain::turn::Turn;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::{Workspace, WorkspaceState};

/// A workspace as a batch needs it.
#[derive(Clone, Debug)]
pub struct WorkspaceRow {
    pub settings: Workspace,
    pub state: WorkspaceState,
    pub subscribers: Vec<Subscriber>,
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
