//! A batch while it is decided: the rows that were read under its locks, and the changes that its commands make to them.
//! Without I/O. Commands are decided in order, each over the changes of the earlier ones; the writer then writes all
//! changes in one transaction.

mod audit;
mod bookings;
mod bounds;
mod conversations;
mod idempotency;
mod ledger;
mod load_plan;
mod tables;
mod turns;

pub use audit::AuditRecord;
pub use bounds::Bounds;
pub use load_plan::LoadPlan;
pub use tables::{ChangeSet, Tables, WorkspaceConfig, WorkspaceRow};
pub(in crate::writer) use turns::NewTurn;
pub use turns::TurnWriteOutcome;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::clock::{Clock, Micros};
use crate::domain::conversation::Conversation;
use crate::domain::event::{Delivery, Event, EventType, Subscriber};
use crate::domain::ids::{DeliveryId, EventId, IdGenerator, ProcessId, TurnId, WorkspaceId};
use crate::domain::ledger::LedgerKind;
use crate::domain::message::Message;
use crate::domain::render::{self, EventData};
use crate::domain::turn::{Api, Turn, TurnEnd};

/// A value for each API, mostly a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerApi<T = usize> {
    pub widget: T,
    pub platform: T,
}

impl<T: Copy> PerApi<T> {
    #[must_use]
    pub fn get(self, api: Api) -> T {
        match api {
            Api::Widget => self.widget,
            Api::Platform => self.platform,
        }
    }

    pub fn get_mut(&mut self, api: Api) -> &mut T {
        match api {
            Api::Widget => &mut self.widget,
            Api::Platform => &mut self.platform,
        }
    }
}

impl PerApi {
    #[must_use]
    pub fn sum(self) -> usize {
        self.widget + self.platform
    }
}

/// The turns that a batch may start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotBudget {
    /// The free slots that were reserved for it.
    pub slots: PerApi,
    /// How many more turns each workspace may start: of each API, and in all.
    pub by_workspace: HashMap<WorkspaceId, (PerApi, usize)>,
}

impl SlotBudget {
    fn try_acquire(&mut self, api: Api, workspace: WorkspaceId) -> bool {
        let Some((of_api, in_all)) = self.by_workspace.get_mut(&workspace) else { return false };
        let counts = [self.slots.get_mut(api), of_api.get_mut(api), in_all];
        let has_room = counts.iter().all(|count| **count > 0);
        if has_room {
            for count in counts {
                *count -= 1;
            }
        }
        has_room
    }
}

/// What this process does after the commit.
#[derive(Debug, Default)]
pub struct Effects {
    /// Turns that run here from now on.
    pub started: Vec<StartedTurn>,
    /// New messages.
    pub messages: Vec<Message>,
    /// Turns that have ended.
    pub ended: Vec<(Turn, TurnEnd)>,
    /// Turns of this process that were not ended by their tasks.
    pub cancelled: Vec<TurnId>,
    /// Turns of this process that are to be stopped by their tasks.
    pub stop_requested: Vec<TurnId>,
    /// The cursor of the last event of each workspace that has new ones.
    pub latest_cursors: HashMap<WorkspaceId, i64>,
    /// Whether deliveries were written.
    pub has_deliveries: bool,
    /// What the turns of the batch were charged, in millionths of a dollar.
    pub charged: u64,
    /// What was refunded for turns without a reply, in millionths of a dollar.
    pub refunded: u64,
}

/// A turn that runs here from now on.
#[derive(Clone, Debug)]
pub struct StartedTurn {
    pub turn: Turn,
    pub snapshot: Option<TurnSnapshot>,
}

/// What a turn would read, as of the commit that started it.
#[derive(Clone, Debug)]
pub struct TurnSnapshot {
    /// Without its metadata.
    pub conversation: Conversation,
    pub config: Arc<WorkspaceConfig>,
    /// A token budget is used up.
    pub is_over_budget: bool,
}

/// The context of all decisions of a batch.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// The time of the database, which all processes compare.
    pub now: Micros,
    /// The same moment on the monotonic clock of this process, by which clients' deadlines are given.
    pub instant: Instant,
    pub clock: &'a dyn Clock,
    pub ids: &'a IdGenerator,
    pub process: ProcessId,
    pub bounds: Bounds,
}

/// A batch being decided.
#[derive(Debug)]
pub struct Batch<'a> {
    pub(super) context: DecisionContext<'a>,
    budget: SlotBudget,
    pub(super) tables: Tables,
    pub(super) changes: ChangeSet,
    effects: Effects,
}

impl<'a> Batch<'a> {
    /// A batch over the rows that were read.
    #[must_use]
    pub fn new(context: DecisionContext<'a>, budget: SlotBudget, tables: Tables) -> Self {
        Self { context, budget, tables, changes: ChangeSet::default(), effects: Effects::default() }
    }

    /// The rows as they are now, the changes to write, and the effects of a commit.
    #[must_use]
    pub fn finish(mut self) -> (Tables, ChangeSet, Effects) {
        self.effects.has_deliveries = !self.changes.deliveries.is_empty();
        let sum = |kind| {
            let entries = self.changes.ledger.iter().filter(|entry| entry.kind == kind);
            entries.map(|entry| entry.amount.0.unsigned_abs()).sum()
        };
        self.effects.charged = sum(LedgerKind::Charge);
        self.effects.refunded = sum(LedgerKind::Refund);
        let mut started = std::mem::take(&mut self.effects.started);
        for started in &mut started {
            started.snapshot = self.snapshot(&started.turn);
        }
        self.effects.started = started;
        (self.tables, self.changes, self.effects)
    }

    fn snapshot(&self, turn: &Turn) -> Option<TurnSnapshot> {
        let conversation = self.tables.conversations.get(&turn.conversation)?;
        Some(TurnSnapshot {
            conversation: Conversation { metadata: None, ..conversation.clone() },
            config: Arc::clone(&self.tables.workspaces.get(&turn.workspace)?.config),
            is_over_budget: self.exhausted_budget(turn.workspace, turn.conversation).is_some(),
        })
    }

    /// Appends an event to the workspace's feed, and a delivery for each subscribed endpoint.
    pub(super) fn emit(&mut self, workspace: WorkspaceId, kind: EventType, data: &EventData<'_>) {
        self.emit_to(workspace, kind, data, |subscriber| subscriber.is_subscribed_to(kind));
    }

    /// Appends an event to the workspace's feed, and a delivery for each endpoint that `includes` selects.
    pub(super) fn emit_to(
        &mut self,
        workspace: WorkspaceId,
        kind: EventType,
        data: &EventData<'_>,
        includes: impl Fn(&Subscriber) -> bool,
    ) {
        let Some(row) = self.tables.workspaces.get_mut(&workspace) else { return };
        let at = self.context.clock.now();
        let cursor = row.state.next_cursor;
        row.state.next_cursor += 1;
        let id = EventId(self.context.ids.uuid_v7(self.context.clock));
        let conversation = match data {
            EventData::Message(message) => Some(message.conversation),
            EventData::Conversation(conversation, _) => Some(conversation.id),
            EventData::Feedback { conversation, .. }
            | EventData::NoReply { conversation, .. }
            | EventData::Deleted(conversation) => Some(*conversation),
            EventData::Balance { .. } | EventData::Endpoint { .. } => None,
        };
        let body = render::event(id, kind, at, cursor, data);
        for subscriber in row.config.subscribers.iter().filter(|subscriber| includes(subscriber)) {
            self.changes.deliveries.push(Delivery {
                workspace,
                endpoint: subscriber.endpoint,
                cursor,
                id: DeliveryId(self.context.ids.uuid_v7(self.context.clock)),
                conversation,
                created_at: self.context.now,
            });
        }
        self.changes.events.push(Event { workspace, cursor, id, kind, conversation, body, created_at: at });
        self.changes.touch_workspace(workspace);
        self.effects.latest_cursors.insert(workspace, cursor);
    }
}
