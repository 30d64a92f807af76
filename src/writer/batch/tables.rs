//! The rows that a batch has read, and those that it writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::AuditRecord;
use crate::domain::assistant::AssistantSummary;
use crate::domain::audit::Actor;
use crate::domain::calendar::Booking;
use crate::domain::conversation::Conversation;
use crate::domain::erasure::NewErasure;
use crate::domain::event::{Delivery, Event, Subscriber};
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRecord};
use crate::domain::ids::{
    AssistantId, CalendarId, ConversationId, EndpointId, MessageId, TurnId, WidgetUuid, WorkspaceId,
};
use crate::domain::journal::JournalRow;
use crate::domain::ledger::LedgerEntry;
use crate::domain::message::{Message, MessageRef, RatedMessage};
use crate::domain::turn::Turn;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::{Workspace, WorkspaceState};
use crate::store::conversations::Deletion;
use crate::store::turns::cancellations::Notices;

/// The configuration of a workspace that decisions need.
#[derive(Clone, Debug)]
pub struct WorkspaceConfig {
    pub settings: Workspace,
    /// The webhook endpoints that receive events.
    pub subscribers: Vec<Subscriber>,
}

/// A workspace with its configuration and its locked state.
#[derive(Clone, Debug)]
pub struct WorkspaceRow {
    pub config: Arc<WorkspaceConfig>,
    pub state: WorkspaceState,
}

/// The rows that were read, with the changes of the commands that are already decided.
#[derive(Debug, Default)]
pub struct Tables {
    pub workspaces: HashMap<WorkspaceId, WorkspaceRow>,
    pub conversations: HashMap<ConversationId, Conversation>,
    pub assistants: HashMap<AssistantId, AssistantSummary>,
    pub messages: HashMap<MessageId, MessageRef>,
    pub rated: HashMap<MessageId, RatedMessage>,
    pub turns: HashMap<TurnId, Turn>,
    /// The open turns by conversation and position; complete for conversations whose turns may end in this batch.
    pub open: HashMap<ConversationId, BTreeMap<i64, TurnId>>,
    pub idempotency: HashMap<IdempotencyKey, IdempotencyRecord>,
    /// Live bookings and holds around the requested times, and those that commands name.
    pub bookings: HashMap<CalendarId, Vec<Booking>>,
    /// The bookings that conversations have made in calendars.
    pub conversation_bookings: HashMap<(CalendarId, ConversationId), i64>,
    /// The bookings that were made in calendars on the current day (UTC).
    pub daily_bookings: HashMap<CalendarId, i64>,
    /// The references of earlier top-ups, with the numbers of their entries.
    pub references: HashMap<(WorkspaceId, String), i64>,
    /// All webhook endpoints of the workspaces whose endpoints commands concern.
    pub endpoints: HashMap<EndpointId, Endpoint>,
}

impl Tables {
    /// Stores a turn and updates the open turns of its conversation.
    pub fn put_turn(&mut self, turn: Turn) {
        let open = self.open.entry(turn.conversation).or_default();
        if turn.state.is_open() {
            open.insert(turn.position, turn.id);
        } else if open.get(&turn.position) == Some(&turn.id) {
            // Another turn may answer the same message by now.
            open.remove(&turn.position);
        }
        self.turns.insert(turn.id, turn);
    }
}

/// The rows to write. Changed rows are named here and taken from [`Tables`].
#[derive(Debug, Default)]
pub struct ChangeSet {
    pub workspaces: BTreeSet<WorkspaceId>,
    pub new_conversations: Vec<ConversationId>,
    pub conversations: BTreeSet<ConversationId>,
    /// The conversations whose metadata changes.
    pub metadata: BTreeSet<ConversationId>,
    /// The conversations whose visitors' claims change.
    pub identities: BTreeSet<ConversationId>,
    pub new_turns: Vec<TurnId>,
    pub turns: BTreeSet<TurnId>,
    pub messages: Vec<Message>,
    /// The messages whose ratings change.
    pub ratings: BTreeSet<MessageId>,
    pub ledger: Vec<LedgerEntry>,
    pub events: Vec<Event>,
    pub deliveries: Vec<Delivery>,
    pub journal: Vec<JournalRow>,
    /// Results of calls whose rows exist already.
    pub results: Vec<JournalRow>,
    pub idempotency: BTreeSet<IdempotencyKey>,
    pub bookings: Vec<Booking>,
    pub cancelled_bookings: Vec<Booking>,
    /// Holds that became bookings.
    pub confirmed_bookings: Vec<Booking>,
    /// New links, which replace the earlier link of their conversations.
    pub links: Vec<(WidgetUuid, WorkspaceId, ConversationId)>,
    /// Notices to other processes about turns that they own.
    pub cancellations: Notices,
    pub new_endpoints: Vec<EndpointId>,
    pub endpoints: BTreeSet<EndpointId>,
    /// Entries of the audit log.
    pub audit: Vec<AuditRecord>,
    /// Conversations that were deleted.
    pub deletions: Vec<Deletion>,
    /// New erasures, each with who asked for it.
    pub erasures: Vec<(NewErasure, Arc<Actor>)>,
}

impl ChangeSet {
    pub(in crate::writer) fn touch_workspace(&mut self, id: WorkspaceId) {
        self.workspaces.insert(id);
    }

    pub(in crate::writer) fn touch_conversation(&mut self, id: ConversationId) {
        if !self.new_conversations.contains(&id) {
            self.conversations.insert(id);
        }
    }

    pub(in crate::writer) fn touch_metadata(&mut self, id: ConversationId) {
        if !self.new_conversations.contains(&id) {
            self.metadata.insert(id);
        }
    }

    pub(in crate::writer) fn touch_identity(&mut self, id: ConversationId) {
        if !self.new_conversations.contains(&id) {
            self.identities.insert(id);
        }
    }

    pub(in crate::writer) fn touch_turn(&mut self, id: TurnId) {
        if !self.new_turns.contains(&id) {
            self.turns.insert(id);
        }
    }
}
