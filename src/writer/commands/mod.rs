//! The commands of the writer, each in one file: its data, the rows that it needs, its size, its decision and its reply.

mod admit;
mod append_journal;
mod create_conversation;
mod end_turn;
mod hand_back_turn;
mod renew_widget_link;
mod retry_turn;
mod top_up;
mod update_conversation;
mod webhook_endpoints;

pub use admit::{Admission, AdmitOutcome, Target};
pub use append_journal::AppendJournal;
pub use create_conversation::{CreateOutcome, NewConversation};
pub use end_turn::{EndAuthority, EndTurn};
pub use hand_back_turn::HandBackTurn;
pub use renew_widget_link::RenewWidgetLink;
pub use retry_turn::RetryTurn;
pub use top_up::TopUp;
pub use update_conversation::UpdateConversation;
pub use webhook_endpoints::{DisableEndpoint, EndpointAction, TestEndpoint, WriteEndpoint};

use super::batch::{Batch, LoadPlan};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::{Api, TurnRef};

/// A command of the writer. It is decided over the rows that were read under the locks of its batch, without I/O.
pub trait Command: Send + Sync + 'static {
    type Reply: Send + Sync + 'static;

    /// Whether a client waits for the reply: a request is answered within 4 s or not applied. Other commands wait for the
    /// database as long as the process lives.
    const IS_REQUEST: bool;

    /// Selects the shard.
    fn workspace(&self) -> WorkspaceId;

    /// Adds the rows that the decision needs; `now` is the time of this process.
    fn plan(&self, plan: &mut LoadPlan, now: Micros);

    /// The approximate size in memory, by which queues and batches are bounded.
    fn bytes(&self) -> usize {
        1024
    }

    /// The APIs of the turns that the command may start: a slot is reserved for each.
    fn may_start(&self) -> &[Api] {
        &[]
    }

    /// Decides the command and records its changes in the batch. An error has changed nothing. If the changes are neither
    /// events, turns nor results of tools, deciding the command again must be harmless: whether such a batch was committed
    /// cannot be found out. A command for which it is not, such as `TopUp`, is only decided inline.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply, Error>;

    /// The turn to end if the client was told, before this reply, that the command failed.
    fn abandoned_turn(&self, _reply: &Self::Reply) -> Option<TurnRef> {
        None
    }
}
