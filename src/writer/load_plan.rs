//! What a batch must lock and read, as far as its items say it.

use std::collections::BTreeSet;

use crate::domain::calendar::{BookingWrite, booking_range};
use crate::domain::clock::Micros;
use crate::domain::conversation::SenderType;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, TurnId, WorkspaceId};
use crate::domain::turn::TurnRef;
use crate::store::bookings::BookingLookup;
use crate::writer::commands::{Command, Target};

/// The rows that a batch's items name.
#[derive(Debug, Default)]
pub(super) struct LoadPlan {
    pub workspaces: BTreeSet<WorkspaceId>,
    pub conversations: BTreeSet<(WorkspaceId, ConversationId)>,
    /// Those of which a turn may end: their open turns are read.
    pub ending: BTreeSet<(WorkspaceId, ConversationId)>,
    pub turns: BTreeSet<(WorkspaceId, TurnId)>,
    pub assistants: BTreeSet<(WorkspaceId, AssistantId)>,
    pub messages: BTreeSet<(WorkspaceId, MessageId)>,
    pub idempotency: BTreeSet<IdempotencyKey>,
    pub bookings: Vec<BookingLookup>,
    pub references: BTreeSet<(WorkspaceId, String)>,
    /// Those whose webhook endpoints are read.
    pub endpoints_of: BTreeSet<WorkspaceId>,
}

impl LoadPlan {
    /// What these items name.
    pub(super) fn of<'a>(commands: impl Iterator<Item = &'a Command>, now: Micros) -> Self {
        let mut plan = Self::default();
        for command in commands {
            plan.add(command, now);
        }
        plan
    }

    fn add(&mut self, command: &Command, now: Micros) {
        match command {
            Command::Admit(admission) => {
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
                self.idempotency.extend(admission.idempotency.as_ref().map(|request| request.key.clone()));
            }
            Command::Create(conversation) => {
                self.workspaces.insert(conversation.workspace);
                self.conversations.insert((conversation.workspace, conversation.id));
                self.assistants.insert((conversation.workspace, conversation.assistant));
                self.idempotency.extend(conversation.idempotency.as_ref().map(|request| request.key.clone()));
            }
            Command::End(end) => {
                self.add_turn(&end.turn);
                self.ending.insert((end.turn.workspace, end.turn.conversation));
            }
            Command::Journal(append) => {
                self.add_turn(&append.turn);
                self.bookings.extend(
                    append.write.as_ref().map(|write| booking_lookup(append.turn.workspace, write, now)),
                );
            }
            Command::Retry(retry) => self.add_turn(&retry.turn),
            Command::HandBack(hand_back) => self.add_turn(&hand_back.turn),
            Command::Update(update) => {
                let key = (update.workspace, update.conversation);
                self.workspaces.insert(update.workspace);
                self.conversations.insert(key);
                if update.patch.discards() {
                    self.ending.insert(key);
                }
            }
            Command::RenewLink(renewal) => {
                self.workspaces.insert(renewal.workspace);
                self.conversations.insert((renewal.workspace, renewal.conversation));
            }
            Command::TopUp(top_up) => {
                self.workspaces.insert(top_up.workspace);
                self.references.insert((top_up.workspace, top_up.reference.clone()));
            }
            Command::Endpoint(write) => {
                self.workspaces.insert(write.workspace);
                self.endpoints_of.insert(write.workspace);
            }
        }
    }

    fn add_turn(&mut self, turn: &TurnRef) {
        self.workspaces.insert(turn.workspace);
        self.conversations.insert((turn.workspace, turn.conversation));
        self.turns.insert((turn.workspace, turn.turn));
    }
}

fn booking_lookup(workspace: WorkspaceId, write: &BookingWrite, now: Micros) -> BookingLookup {
    match write {
        BookingWrite::Book { calendar, rules, request, call, .. } => {
            let range = booking_range(rules, request, now.timestamp());
            BookingLookup {
                workspace,
                calendar: *calendar,
                range: Some((range.start, range.end)),
                call: Some(call.clone()),
                id: None,
            }
        }
        BookingWrite::Hold(hold) => {
            let range = booking_range(&hold.rules, &hold.request, now.timestamp());
            BookingLookup {
                workspace,
                calendar: hold.calendar,
                range: Some((range.start, range.end)),
                call: Some(hold.call.clone()),
                id: None,
            }
        }
        BookingWrite::Cancel { calendar, request, .. } => {
            let id = request.booking_id.parse().ok();
            BookingLookup { workspace, calendar: *calendar, range: None, call: None, id }
        }
        BookingWrite::Confirm { calendar, id, .. } | BookingWrite::Release { calendar, id } => {
            BookingLookup { workspace, calendar: *calendar, range: None, call: None, id: Some(*id) }
        }
    }
}
