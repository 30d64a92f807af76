//! The rows that a batch must lock and read.

use std::collections::BTreeSet;

use crate::domain::calendar::BookingLookup;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, TurnId, WorkspaceId};
use crate::domain::turn::TurnRef;

/// The rows that the commands of a batch name.
#[derive(Debug, Default)]
pub struct LoadPlan {
    pub workspaces: BTreeSet<WorkspaceId>,
    pub conversations: BTreeSet<(WorkspaceId, ConversationId)>,
    /// The conversations of which a turn may end: all their open turns are read.
    pub ending: BTreeSet<(WorkspaceId, ConversationId)>,
    pub turns: BTreeSet<(WorkspaceId, TurnId)>,
    pub assistants: BTreeSet<(WorkspaceId, AssistantId)>,
    pub messages: BTreeSet<(WorkspaceId, MessageId)>,
    /// The messages whose ratings are read.
    pub rated: BTreeSet<(WorkspaceId, MessageId)>,
    pub idempotency: BTreeSet<IdempotencyKey>,
    pub bookings: Vec<BookingLookup>,
    /// The references of top-ups.
    pub references: BTreeSet<(WorkspaceId, String)>,
    /// The workspaces whose webhook endpoints are read.
    pub endpoints_of: BTreeSet<WorkspaceId>,
}

impl LoadPlan {
    /// Adds a conversation and its workspace.
    pub(in crate::writer) fn add_conversation(&mut self, workspace: WorkspaceId, id: ConversationId) {
        self.workspaces.insert(workspace);
        self.conversations.insert((workspace, id));
    }

    /// Adds a turn, its conversation and its workspace.
    pub(in crate::writer) fn add_turn(&mut self, turn: &TurnRef) {
        self.add_conversation(turn.workspace, turn.conversation);
        self.turns.insert((turn.workspace, turn.turn));
    }

    /// Adds a workspace and all its webhook endpoints.
    pub(in crate::writer) fn add_endpoints(&mut self, workspace: WorkspaceId) {
        self.workspaces.insert(workspace);
        self.endpoints_of.insert(workspace);
    }
}
