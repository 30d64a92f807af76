//! What a batch decides: pure functions of what was read under the locks. Items
//! are decided in order of arrival, each seeing what the earlier ones did; the
//! writer then writes all of it in one transaction.

mod admit;
mod bookings;
mod bounds;
mod command;
mod conversations;
mod end;
mod endpoints;
mod journal;
mod keys;
mod money;
mod tables;

pub use command::*;
pub use tables::{ChangeSet, Tables, WorkspaceRow};

use std::collections::HashMap;
use std::time::Instant;

use crate::domain::clock::{Clock, Micros};
use crate::domain::error::Error;
use crate::domain::event::{Delivery, Event, EventType, Subscriber};
use crate::domain::ids::{DeliveryId, EventId, IdGenerator, ProcessId, TurnId, WorkspaceId};
use crate::domain::render::{self, EventData};
use crate::domain::turn::{Api, Turn, TurnEnd, TurnState};

/// The free slots that were reserved for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotBudget {
    pub widget: usize,
    pub platform: usize,
    /// How many more each workspace may start; none where that is not limited.
    pub per_workspace: Option<HashMap<WorkspaceId, usize>>,
}

impl SlotBudget {
    fn try_acquire(&mut self, api: Api, workspace: WorkspaceId) -> bool {
        let api_slots = match api {
            Api::Widget => &mut self.widget,
            Api::Platform => &mut self.platform,
        };
        let workspace_slots =
            self.per_workspace.as_mut().map(|remaining| remaining.entry(workspace).or_default());
        if *api_slots == 0 || workspace_slots.as_ref().is_some_and(|remaining| **remaining == 0) {
            return false;
        }
        *api_slots -= 1;
        if let Some(remaining) = workspace_slots {
            *remaining -= 1;
        }
        true
    }
}

/// Bounds that a decision keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub max_open_per_conversation: i64,
    pub max_open: i64,
    pub messages_per_conversation: Option<i64>,
    pub spend_per_conversation: Option<i64>,
    pub spend_per_day: Option<i64>,
    pub test_turns_per_day: Option<i64>,
}

/// What must happen in this process once the batch is committed.
#[derive(Debug, Default)]
pub struct Effects {
    /// Turns that now run here.
    pub started: Vec<Turn>,
    /// Turns that have ended, for whoever waits for them.
    pub ended: Vec<(Turn, TurnEnd)>,
    /// Tasks of this process whose turn was ended by another hand.
    pub cancelled: Vec<TurnId>,
    /// The cursor of the last event of each workspace that has new ones.
    pub latest_cursors: HashMap<WorkspaceId, i64>,
    /// There is something for whoever sends deliveries.
    pub has_deliveries: bool,
}

/// Who decides, and when.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// The clock of the store: what processes compare.
    pub now: Micros,
    /// The same moment on this process's monotonic clock, which deadlines are counted on.
    pub instant: Instant,
    pub clock: &'a dyn Clock,
    pub ids: &'a IdGenerator,
    pub process: ProcessId,
    pub bounds: Bounds,
}

/// A batch being decided.
#[derive(Debug)]
pub struct Batch<'a> {
    context: DecisionContext<'a>,
    budget: SlotBudget,
    tables: Tables,
    changes: ChangeSet,
    effects: Effects,
}

impl<'a> Batch<'a> {
    /// A batch over what was read.
    #[must_use]
    pub fn new(context: DecisionContext<'a>, budget: SlotBudget, tables: Tables) -> Self {
        Self { context, budget, tables, changes: ChangeSet::default(), effects: Effects::default() }
    }

    /// Decides one item. A refusal has changed nothing.
    pub fn decide(&mut self, command: &Command) -> Result<Outcome, Error> {
        match command {
            Command::Admit(admission) => self.admit(admission).map(Outcome::Admitted),
            Command::Create(conversation) => self.create(conversation).map(Outcome::Created),
            Command::End(end) => Ok(Outcome::TurnWrite(self.end(end))),
            Command::Journal(entry) => Ok(self.journal(entry)),
            Command::Retry(retry) => Ok(Outcome::TurnWrite(self.retry(retry))),
            Command::HandBack(hand_back) => Ok(Outcome::TurnWrite(self.hand_back(hand_back))),
            Command::Update(update) => self.update(update).map(Outcome::Conversation),
            Command::RenewLink(renewal) => self.renew_link(renewal).map(|()| Outcome::LinkRenewed),
            Command::TopUp(top_up) => self.top_up(top_up).map(Outcome::ToppedUp),
            Command::Endpoint(write) => self.endpoint(write),
        }
    }

    /// What is to be written, with the rows as they now are, and what follows from it.
    #[must_use]
    pub fn finish(mut self) -> (Tables, ChangeSet, Effects) {
        self.effects.has_deliveries = !self.changes.deliveries.is_empty();
        (self.tables, self.changes, self.effects)
    }

    /// Appends an event to the workspace's feed, and a delivery for each endpoint that wants it.
    fn emit(&mut self, workspace: WorkspaceId, kind: EventType, data: &EventData<'_>) {
        self.emit_to(workspace, kind, data, |subscriber| subscriber.is_subscribed_to(kind));
    }

    /// Appends an event to the workspace's feed, and a delivery for those endpoints that are meant.
    fn emit_to(
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
            EventData::NoReply { conversation, .. } => Some(*conversation),
            EventData::Balance { .. } | EventData::Endpoint { .. } => None,
        };
        let body = render::event(id, kind, at, cursor, data);
        for subscriber in row.subscribers.iter().filter(|subscriber| includes(subscriber)) {
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

    /// Starts a turn that may run now: here if a slot is free, else for whoever claims it.
    fn start(&mut self, turn: &mut Turn) {
        turn.not_before = self.context.now;
        if self.budget.try_acquire(turn.api, turn.workspace) {
            turn.state = TurnState::Running;
            turn.owner = Some(self.context.process);
            turn.fence += 1;
            turn.first_started_at.get_or_insert(self.context.now);
            self.effects.started.push(turn.clone());
        } else {
            turn.state = TurnState::Queued;
            turn.owner = None;
        }
    }
}
