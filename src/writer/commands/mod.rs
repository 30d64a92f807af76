//! The commands of the writer, each in one file: its data, the rows that it needs, its size, its decision and its reply.

mod admit;
mod create;
mod end;
mod endpoints;
mod hand_back;
mod journal;
mod renew_link;
mod retry;
mod top_up;
mod update;

pub use admit::{Admission, AdmitOutcome, Target};
pub use create::{CreateOutcome, NewConversation};
pub use end::{EndAuthority, EndTurn};
pub use endpoints::{DisableEndpoint, EndpointAction, TestEndpoint, WriteEndpoint};
pub use hand_back::HandBack;
pub use journal::JournalAppend;
pub use renew_link::RenewLink;
pub use retry::Retry;
pub use top_up::TopUp;
pub use update::UpdateConversation;

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

    /// Decides the command and records its changes in the batch. An error has changed nothing.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply, Error>;

    /// The turn to end if the client was told, before this reply, that the command failed.
    fn abandoned_turn(&self, _reply: &Self::Reply) -> Option<TurnRef> {
        None
    }
}
