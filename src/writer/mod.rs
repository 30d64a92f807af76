//! The group commit for [`commands`] on conversations, turns, money and webhook endpoints. A few shards commit them in
//! batches; a workspace always maps to the same shard. Effects of a batch in this process follow its commit as [`Effect`]s.

pub mod batch;
pub mod commands;
mod config_cache;
pub mod group_commit;
mod inline;
mod queued_command;
mod read;
mod request_state;
mod shard;
mod transaction;
mod turn_slots;
mod uncertain_commit;
mod write;

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use batch::{Bounds, StartedTurn, TurnSnapshot, TurnWriteOutcome};
pub use commands::{
    Admission, AdmitOutcome, AppendJournal, AppendOutcome, CancelTurn, Command, CountTokens, CreateOutcome,
    Decision, DeleteConversation, DeleteConversations, DisableEndpoint, DiscardSuspended, EndAuthority,
    EndTurn, EndpointAction, HandBackTurn, NewConversation, RateMessage, RenewWidgetLink, RerunOutcome,
    RerunTurn, RetryTurn, Target, TestEndpoint, TopUp, UpdateConversation, WriteBooking, WriteBookingOutcome,
    WriteEndpoint,
};
pub use config_cache::ConfigCache;
pub use inline::decide_inline;
pub use turn_slots::{SlotLimits, TurnSlot, TurnSlots};

use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::{IdGenerator, ProcessId, TurnId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::turn::{Turn, TurnEnd};
use crate::lifecycle::lease::LeaseStatus;
use crate::store::{Db, StoreError};
use group_commit::{GroupQueue, QueueLimits};
use queued_command::{Answer, BoxedCommand, queued};
use request_state::RequestState;
use shard::Shard;

/// How long a request waits for its decision.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// The commands and bytes in a shard's queue beyond which requests are refused.
const SHARD_CAPACITY: QueueLimits = QueueLimits { items: 10_000, bytes: 64 << 20 };
/// Those of one workspace beyond which only its requests are refused.
const WORKSPACE_CAPACITY: QueueLimits = QueueLimits { items: 5_000, bytes: 32 << 20 };

/// An effect of a committed batch in this process.
#[derive(Debug)]
pub enum Effect {
    /// The turn runs here from now on, in this slot.
    Started(Box<StartedTurn>, Option<TurnSlot>),
    /// The message was stored. Those of a conversation come in order.
    Stored(Box<Message>),
    /// The turn has ended, in any way and in any process.
    Ended(Box<Turn>, TurnEnd),
    /// The turn of a task of this process was ended, but not by its task.
    Cancelled(TurnId),
    /// The task of the turn, which runs here, is to stop it.
    StopRequested(TurnId),
    /// The workspace has new events up to this cursor.
    EventsAdvanced(WorkspaceId, i64),
    /// Deliveries were written.
    Deliveries,
}

/// The dependencies of the shards.
#[derive(Clone)]
pub struct WriterContext {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub process: ProcessId,
    pub bounds: Bounds,
    pub slots: TurnSlots,
    pub effects: mpsc::UnboundedSender<Effect>,
    /// Without a valid lease this process starts no turns.
    pub lease: LeaseStatus,
    pub config_cache: ConfigCache,
}

impl fmt::Debug for WriterContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterContext").field("process", &self.process).finish_non_exhaustive()
    }
}

impl WriterContext {
    fn send(&self, effect: Effect) {
        // The receiver is dropped only when the process stops.
        let _ = self.effects.send(effect);
    }
}

/// The handle to the shards. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    shards: Arc<[GroupQueue<BoxedCommand>]>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("shards", &self.shards.len()).finish()
    }
}

impl Writer {
    /// A writer with `shards` shards, and their tasks, which the caller spawns and which end at `stop`.
    pub fn new(
        context: &WriterContext,
        shards: usize,
        stop: &CancellationToken,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let shards: Vec<_> = (0..shards.max(1)).map(|_| GroupQueue::default()).collect();
        let run = |shard: &GroupQueue<_>| {
            shard.clone().run(shard::BATCH_LIMITS, Shard(context.clone()), stop.clone())
        };
        let tasks = shards.iter().map(run).collect();
        (Self { shards: shards.into() }, tasks)
    }

    /// Runs a command. A request is answered within 4 s, whatever happens to the database; other commands wait for the
    /// database as long as the process lives.
    ///
    /// The future is boxed, so that the many that wait for it have no room for its command.
    pub fn execute<C: Command>(&self, command: C) -> BoxFuture<'_, Result<C::Reply, Error>> {
        let shard = self.shard(command.workspace());
        Box::pin(async move {
            if C::IS_REQUEST {
                return request(shard, command).await;
            }
            push(shard, command, Arc::default()).await.unwrap_or_else(|_| Err(dropped()))
        })
    }

    /// The number of commands in all queues.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.shards.iter().map(GroupQueue::len).sum()
    }

    fn shard(&self, workspace: WorkspaceId) -> &GroupQueue<BoxedCommand> {
        // All processes use the same hash, so that shards of different processes seldom contend for the same workspaces.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(workspace);
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        let index = usize::try_from(hash % count).unwrap_or(0);
        &self.shards[index]
    }
}

async fn request<C: Command>(shard: &GroupQueue<BoxedCommand>, command: C) -> Result<C::Reply, Error> {
    if shard.is_full(command.workspace(), SHARD_CAPACITY, WORKSPACE_CAPACITY) {
        let retry_after = Duration::from_secs(1);
        return Err(Error::Overloaded { text: "The server is overloaded", retry_after });
    }
    let state = Arc::new(RequestState::default());
    let mut answer = push(shard, command, Arc::clone(&state));
    if let Ok(outcome) = tokio::time::timeout(REQUEST_TIMEOUT, &mut answer).await {
        return outcome.unwrap_or_else(|_| Err(dropped()));
    }
    // The shard does not decide it from here on, but it may have answered just before.
    let outcome_unknown = state.abandon();
    answer.close();
    answer.try_recv().unwrap_or(Err(Error::Unavailable { outcome_unknown, source: None }))
}

/// If the shard has ended, or the batch of the command panicked, the sender of the answer is dropped with the command.
fn push<C: Command>(shard: &GroupQueue<BoxedCommand>, command: C, state: Arc<RequestState>) -> Answer<C> {
    let (queued, answer) = queued(command, state);
    shard.push(queued);
    answer
}

/// The shard has dropped the command: the process stops, or the batch panicked outside its transaction. The command may have
/// been committed.
fn dropped() -> Error {
    Error::Unavailable { outcome_unknown: true, source: Some(Box::new(StoreError::Stopped)) }
}
