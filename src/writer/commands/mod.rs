//! The commands of the writer, each in one file: its data, the rows that it needs, its size, its decision and its reply.

mod admit;
mod append_journal;
mod cancel_turn;
mod count_tokens;
mod create_conversation;
mod delete_conversations;
mod discard_suspended;
mod end_turn;
mod hand_back_turn;
mod rate_message;
mod renew_widget_link;
mod rerun_turn;
mod retry_turn;
mod top_up;
mod update_conversation;
mod webhook_endpoints;
mod write_booking;

pub use admit::{Admission, AdmitOutcome, Target};
pub use append_journal::{AppendJournal, AppendOutcome};
pub use cancel_turn::CancelTurn;
pub use count_tokens::CountTokens;
pub use create_conversation::{CreateOutcome, NewConversation};
pub use delete_conversations::{DeleteConversation, DeleteConversations};
pub use discard_suspended::DiscardSuspended;
pub use end_turn::{EndAuthority, EndTurn};
pub use hand_back_turn::HandBackTurn;
pub use rate_message::RateMessage;
pub use renew_widget_link::RenewWidgetLink;
pub use rerun_turn::{RerunOutcome, RerunTurn};
pub use retry_turn::RetryTurn;
pub use top_up::TopUp;
pub use update_conversation::UpdateConversation;
pub use webhook_endpoints::{DisableEndpoint, EndpointAction, TestEndpoint, WriteEndpoint};
pub use write_booking::{WriteBooking, WriteBookingOutcome};

use super::batch::{Batch, LoadPlan};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::{Api, TurnRef};

/// A decision over rows that were read under the locks of a batch, without I/O. It is decided within a transaction of the
/// caller, or queued if it is a [`Command`], too.
pub trait Decision: Send + Sync {
    type Reply;

    /// Adds the rows that the decision needs; `now` is the time of this process.
    fn plan(&self, plan: &mut LoadPlan, now: Micros);

    /// Decides, and records the changes in the batch. An error has changed nothing.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply, Error>;
}

/// A command in the queue of a shard. Its batch may be decided again after a commit without an answer: if its changes are
/// neither events, turns, answers of models nor results of tools, by which that commit is found, deciding it again has to be
/// harmless.
pub trait Command: Decision<Reply: Send + Sync + 'static> + 'static {
    /// Whether a client waits for the reply: a request is answered within 4 s or not applied. Other commands wait for the
    /// database as long as the process lives.
    const IS_REQUEST: bool;

    /// Selects the shard.
    fn workspace(&self) -> WorkspaceId;

    /// The approximate size in memory, by which queues and batches are bounded.
    fn bytes(&self) -> usize {
        1024
    }

    /// The APIs of the turns that the command may start: a slot is reserved for each.
    fn may_start(&self) -> &[Api] {
        &[]
    }

    /// The turn to end if the client was told, before this reply, that the command failed.
    fn abandoned_turn(&self, _reply: &Self::Reply) -> Option<TurnRef> {
        None
    }
}
