//! What a batch must lock and read, as far as its items say it.

use std::collections::BTreeSet;

use crate::domain::batch::{Item, StoreWrite, Target, TurnRef};
use crate::domain::calendar::booking_range;
use crate::domain::clock::Micros;
use crate::domain::conversation::SenderType;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, TurnId, WorkspaceId};
use crate::store::calendars::Wanted;

/// The rows that a batch's items name.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub workspaces: BTreeSet<WorkspaceId>,
    pub conversations: BTreeSet<(WorkspaceId, ConversationId)>,
    /// Those of which a turn may end: their open turns are read.
    pub ending: BTreeSet<(WorkspaceId, ConversationId)>,
    pub turns: BTreeSet<(WorkspaceId, TurnId)>,
    pub assistants: BTreeSet<(WorkspaceId, AssistantId)>,
    pub messages: BTreeSet<(WorkspaceId, MessageId)>,
    pub idempotency: BTreeSet<IdempotencyKey>,
    pub bookings: Vec<Wanted>,
    pub references: BTreeSet<(WorkspaceId, String)>,
    /// Those whose webhook endpoints are read.
    pub endpoints_of: BTreeSet<WorkspaceId>,
}

impl Needs {
    /// What these items name.
    pub(super) fn of<'a>(items: impl Iterator<Item = &'a Item>, now: Micros) -> Self {
        let mut needs = Self::default();
        for item in items {
            needs.add(item, now);
        }
        needs
    }

    fn add(&mut self, item: &Item, now: Micros) {
        match item {
            Item::Admit(admission) => {
                let workspace = admission.workspace;
                self.workspaces.insert(workspace);
                match &admission.target {
                    Target::Existing { id, .. } => {
                        self.conversations.insert((workspace, *id));
                        if admission.sender_type == SenderType::Agent {
                            self.ending.insert((workspace, *id));
                        }
                    }
                    Target::New { assistant, id } => {
                        self.conversations.insert((workspace, *id));
                        self.assistants.insert((workspace, *assistant));
                    }
                }
                self.messages.extend(admission.reply_to.map(|id| (workspace, id)));
                self.idempotency
                    .extend(admission.idempotency.as_ref().map(|presented| presented.key.clone()));
            }
            Item::Create(creation) => {
                self.workspaces.insert(creation.workspace);
                self.conversations.insert((creation.workspace, creation.id));
                self.assistants.insert((creation.workspace, creation.assistant));
                self.idempotency.extend(creation.idempotency.as_ref().map(|presented| presented.key.clone()));
            }
            Item::End(ending) => {
                self.name(&ending.turn);
                self.ending.insert((ending.turn.workspace, ending.turn.conversation));
            }
            Item::Journal(journaling) => {
                self.name(&journaling.turn);
                self.bookings.extend(
                    journaling.write.as_ref().map(|write| wanted(journaling.turn.workspace, write, now)),
                );
            }
            Item::Retry(retry) => self.name(&retry.turn),
            Item::HandBack(hand_back) => self.name(&hand_back.turn),
            Item::Change(changing) => {
                let place = (changing.workspace, changing.conversation);
                self.workspaces.insert(changing.workspace);
                self.conversations.insert(place);
                if changing.change.discards() {
                    self.ending.insert(place);
                }
            }
            Item::RenewLink(renewal) => {
                self.workspaces.insert(renewal.workspace);
                self.conversations.insert((renewal.workspace, renewal.conversation));
            }
            Item::TopUp(top_up) => {
                self.workspaces.insert(top_up.workspace);
                self.references.insert((top_up.workspace, top_up.reference.clone()));
            }
            Item::Endpoint(write) => {
                self.workspaces.insert(write.workspace);
                self.endpoints_of.insert(write.workspace);
            }
        }
    }

    fn name(&mut self, turn: &TurnRef) {
        self.workspaces.insert(turn.workspace);
        self.conversations.insert((turn.workspace, turn.conversation));
        self.turns.insert((turn.workspace, turn.turn));
    }
}

fn wanted(workspace: WorkspaceId, write: &StoreWrite, now: Micros) -> Wanted {
    match write {
        StoreWrite::Book { calendar, rules, request, call, .. } => {
            let range = booking_range(rules, request, now.timestamp());
            Wanted {
                workspace,
                calendar: *calendar,
                range: Some((range.start, range.end)),
                call: Some(call.clone()),
                id: None,
            }
        }
        StoreWrite::Hold(hold) => {
            let range = booking_range(&hold.rules, &hold.request, now.timestamp());
            Wanted {
                workspace,
                calendar: hold.calendar,
                range: Some((range.start, range.end)),
                call: Some(hold.call.clone()),
                id: None,
            }
        }
        StoreWrite::Cancel { calendar, request, .. } => {
            let id = request.booking_id.parse().ok();
            Wanted { workspace, calendar: *calendar, range: None, call: None, id }
        }
        StoreWrite::Confirm { calendar, id, .. } | StoreWrite::Release { calendar, id } => {
            Wanted { workspace, calendar: *calendar, range: None, call: None, id: Some(*id) }
        }
    }
}
