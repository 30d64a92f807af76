//! What a batch decides: pure functions of what was read under the locks. Items
//! are decided in order of arrival, each seeing what the earlier ones did; the
//! writer then writes all of it in one transaction.

mod admit;
mod bookings;
mod bounds;
mod conversations;
mod end;
mod endpoints;
mod item;
mod journal;
mod keys;
mod money;
mod tables;

pub use item::*;
pub use tables::{AssistantHead, Booking, MessageRef, Tables, WorkspaceRow, Written};

use std::collections::HashMap;
use std::time::Instant;

use super::clock::{Clock, Micros};
use super::error::Error;
use super::event::{Delivery, Event, EventType, Subscriber};
use super::ids::{DeliveryId, EventId, Ids, ProcessId, TurnId, WorkspaceId};
use super::rendered::{self, EventData};
use super::turn::{Door, Turn, TurnEnd, TurnState};

/// The free slots that were reserved for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotBudget {
    pub widget: usize,
    pub platform: usize,
    /// How many more each workspace may start; none where that is not limited.
    pub per_workspace: Option<HashMap<WorkspaceId, usize>>,
}

impl SlotBudget {
    fn take(&mut self, door: Door, workspace: WorkspaceId) -> bool {
        let of_door = match door {
            Door::Widget => &mut self.widget,
            Door::Platform => &mut self.platform,
        };
        let of_workspace = self.per_workspace.as_mut().map(|left| left.entry(workspace).or_default());
        if *of_door == 0 || of_workspace.as_ref().is_some_and(|left| **left == 0) {
            return false;
        }
        *of_door -= 1;
        if let Some(left) = of_workspace {
            *left -= 1;
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
    pub told: HashMap<WorkspaceId, i64>,
    /// There is something for whoever sends deliveries.
    pub has_deliveries: bool,
}

/// Who decides, and when.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The clock of the store: what processes compare.
    pub now: Micros,
    /// The same moment on this process's monotonic clock, which deadlines are counted on.
    pub instant: Instant,
    pub clock: &'a dyn Clock,
    pub ids: &'a Ids,
    pub process: ProcessId,
    pub bounds: Bounds,
}

/// A batch being decided.
#[derive(Debug)]
pub struct Batch<'a> {
    setting: Setting<'a>,
    budget: SlotBudget,
    tables: Tables,
    written: Written,
    effects: Effects,
}

impl<'a> Batch<'a> {
    /// A batch over what was read.
    #[must_use]
    pub fn new(setting: Setting<'a>, budget: SlotBudget, tables: Tables) -> Self {
        Self { setting, budget, tables, written: Written::default(), effects: Effects::default() }
    }

    /// Decides one item. A refusal has changed nothing.
    pub fn decide(&mut self, item: &Item) -> Result<Outcome, Error> {
        match item {
            Item::Admit(admission) => self.admit(admission).map(Outcome::Admitted),
            Item::Create(creation) => self.create(creation).map(Outcome::Created),
            Item::End(ending) => Ok(Outcome::Step(self.end(ending))),
            Item::Journal(entry) => Ok(self.journal(entry)),
            Item::Retry(retry) => Ok(Outcome::Step(self.retry(retry))),
            Item::HandBack(hand_back) => Ok(Outcome::Step(self.hand_back(hand_back))),
            Item::Change(changing) => self.change(changing).map(Outcome::Conversation),
            Item::RenewLink(renewal) => self.renew_link(renewal).map(|()| Outcome::LinkRenewed),
            Item::TopUp(top_up) => self.top_up(top_up).map(Outcome::ToppedUp),
            Item::Endpoint(write) => self.endpoint(write),
        }
    }

    /// What is to be written, with the rows as they now are, and what follows from it.
    #[must_use]
    pub fn finish(mut self) -> (Tables, Written, Effects) {
        self.effects.has_deliveries = !self.written.deliveries.is_empty();
        (self.tables, self.written, self.effects)
    }

    /// Appends an event to the workspace's feed, and a delivery for each endpoint that wants it.
    fn emit(&mut self, workspace: WorkspaceId, kind: EventType, data: &EventData<'_>) {
        self.emit_to(workspace, kind, data, |subscriber| subscriber.wants(kind));
    }

    /// Appends an event to the workspace's feed, and a delivery for those endpoints that are meant.
    fn emit_to(
        &mut self,
        workspace: WorkspaceId,
        kind: EventType,
        data: &EventData<'_>,
        is_meant: impl Fn(&Subscriber) -> bool,
    ) {
        let Some(row) = self.tables.workspaces.get_mut(&workspace) else { return };
        let at = self.setting.clock.now();
        let cursor = row.state.next_cursor;
        row.state.next_cursor += 1;
        let id = EventId(self.setting.ids.ordered(self.setting.clock));
        let conversation = match data {
            EventData::Message(message) => Some(message.conversation),
            EventData::Conversation(conversation, _) => Some(conversation.id),
            EventData::NoReply { conversation, .. } => Some(*conversation),
            EventData::Balance { .. } | EventData::Endpoint { .. } => None,
        };
        let body = rendered::event(id, kind, at, cursor, data);
        for subscriber in row.subscribers.iter().filter(|subscriber| is_meant(subscriber)) {
            self.written.deliveries.push(Delivery {
                workspace,
                endpoint: subscriber.endpoint,
                cursor,
                id: DeliveryId(self.setting.ids.ordered(self.setting.clock)),
                conversation,
                created_at: self.setting.now,
            });
        }
        self.written.events.push(Event { workspace, cursor, id, kind, conversation, body, created_at: at });
        self.written.touch_workspace(workspace);
        self.effects.told.insert(workspace, cursor);
    }

    /// Starts a turn that may run now: here if a slot is free, else for whoever claims it.
    fn start(&mut self, turn: &mut Turn) {
        turn.not_before = self.setting.now;
        if self.budget.take(turn.door, turn.workspace) {
            turn.state = TurnState::Running;
            turn.owner = Some(self.setting.process);
            turn.fence += 1;
            turn.first_started_at.get_or_insert(self.setting.now);
            self.effects.started.push(turn.clone());
        } else {
            turn.state = TurnState::Queued;
            turn.owner = None;
        }
    }
}
