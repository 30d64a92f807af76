//! The write path: a few shards, a workspace always on the same one, each
//! committing its items in batches. What is decided is [`commands`]'s; what
//! follows from it is handed on as [`Effect`]s once it is durable.

mod batch;
pub mod commands;
mod inline;
mod load_plan;
mod read;
mod request_state;
mod shard;
mod slots;
mod uncertain_commit;
mod write;

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use commands::{
    Admission, AdmitOutcome, Bounds, Command, CreateOutcome, DisableEndpoint, EndAuthority, EndTurn,
    EndpointAction, EndpointWrite, HandBack, JournalAppend, LinkRenewal, NewConversation, Outcome, Retry,
    Target, TopUp, TurnWriteOutcome, UpdateConversation,
};
pub use inline::decide_inline;
pub use slots::{Slot, SlotLimits, Slots};

use crate::domain::clock::Clock;
use crate::domain::conversation::Conversation;
use crate::domain::error::Error;
use crate::domain::ids::{DeliveryId, EndpointId, IdGenerator, ProcessId, TurnId, WorkspaceId};
use crate::domain::turn::{Turn, TurnEnd};
use crate::domain::webhook_endpoint::Endpoint;
use crate::lifecycle::lease::LeaseStatus;
use crate::store::{Db, StoreError};
use commands::Effects;
use request_state::RequestState;
use shard::{QueuedCommand, Shard};

/// How long a request waits for its place in the store.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// How many commands and bytes a shard holds before it refuses more.
const SHARD_CAPACITY: (usize, usize) = (10_000, 64 << 20);

/// What follows, in this process, from a batch that was committed.
#[derive(Debug)]
pub enum Effect {
    /// The turn now runs here. Its slot is free again when it is dropped.
    Started(Box<Turn>, Option<Slot>),
    /// However it ended, and whoever ran it.
    Ended(Box<Turn>, TurnEnd),
    /// A task of this process whose turn was ended by another hand.
    Cancelled(TurnId),
    /// The workspace has new events, up to this cursor.
    EventsAdvanced(WorkspaceId, i64),
    /// Deliveries were written.
    Deliveries,
}

/// What the shards work with.
#[derive(Clone)]
pub struct WriterContext {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub process: ProcessId,
    pub bounds: Bounds,
    pub slots: Slots,
    pub effects: mpsc::UnboundedSender<Effect>,
    /// False while this process has no good lease: it starts nothing.
    pub has_lease: LeaseStatus,
}

impl fmt::Debug for WriterContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterContext").field("process", &self.process).finish_non_exhaustive()
    }
}

impl WriterContext {
    fn may_start(&self) -> bool {
        self.has_lease.is_valid()
    }

    fn send(&self, effect: Effect) {
        // The receiver lives as long as the process; once it is gone nothing follows any more.
        let _ = self.effects.send(effect);
    }

    fn dispatch(&self, effects: Effects, slots: Vec<Slot>) {
        shard::dispatch(self, effects, slots);
    }
}

/// The way into one shard.
struct ShardHandle {
    sender: mpsc::UnboundedSender<QueuedCommand>,
    depth: Arc<QueueDepth>,
}

/// What waits in a shard.
#[derive(Debug, Default)]
struct QueueDepth {
    commands: AtomicUsize,
    bytes: AtomicUsize,
}

impl QueueDepth {
    fn add(&self, bytes: usize) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.commands.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        let (commands, bytes) = SHARD_CAPACITY;
        self.commands.load(Ordering::Relaxed) >= commands || self.bytes.load(Ordering::Relaxed) >= bytes
    }
}

/// The way into the store for everything that is written while the server runs.
#[derive(Clone)]
pub struct Writer {
    shards: Arc<[ShardHandle]>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("shards", &self.shards.len()).finish()
    }
}

impl Writer {
    /// A writer with `shards` shards, and the tasks that run them until `stop`, each to be spawned.
    pub fn new(
        context: &WriterContext,
        shards: usize,
        stop: &CancellationToken,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let mut handles = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..shards.max(1) {
            let (sender, incoming) = mpsc::unbounded_channel();
            let depth = Arc::new(QueueDepth::default());
            tasks.push(Shard::new(context.clone(), incoming, Arc::clone(&depth)).run(stop.clone()));
            handles.push(ShardHandle { sender, depth });
        }
        (Self { shards: handles.into() }, tasks)
    }

    /// Admits a message. Answered within 4 s, whatever becomes of the store.
    pub async fn admit(&self, admission: Admission) -> Result<AdmitOutcome, Error> {
        let workspace = admission.workspace;
        let outcome = self.request(workspace, Command::Admit(Box::new(admission))).await?;
        if let Outcome::Admitted(admitted) = outcome { Ok(admitted) } else { Err(mismatch()) }
    }

    /// Makes a conversation. Answered within 4 s.
    pub async fn create(&self, conversation: NewConversation) -> Result<CreateOutcome, Error> {
        let workspace = conversation.workspace;
        let outcome = self.request(workspace, Command::Create(Box::new(conversation))).await?;
        if let Outcome::Created(created) = outcome { Ok(created) } else { Err(mismatch()) }
    }

    /// Changes a conversation, which may end it. Answered within 4 s.
    pub async fn update(&self, update: UpdateConversation) -> Result<Conversation, Error> {
        let workspace = update.workspace;
        let outcome = self.request(workspace, Command::Update(Box::new(update))).await?;
        if let Outcome::Conversation(conversation) = outcome { Ok(*conversation) } else { Err(mismatch()) }
    }

    /// Gives a conversation a new link. Answered within 4 s.
    pub async fn renew_link(&self, renewal: LinkRenewal) -> Result<(), Error> {
        self.request(renewal.workspace, Command::RenewLink(renewal)).await.map(drop)
    }

    /// Ends a turn. Waits for the store as long as the process lives.
    pub async fn end(&self, end: EndTurn) -> Result<TurnWriteOutcome, Error> {
        let workspace = end.turn.workspace;
        turn_write(self.enqueue(workspace, Command::End(Box::new(end))).await?)
    }

    /// Keeps rows of a turn's journal; the result is that of a call over our own store.
    /// Waits for the store as long as the process lives.
    pub async fn journal(&self, append: JournalAppend) -> Result<(TurnWriteOutcome, Option<Value>), Error> {
        let workspace = append.turn.workspace;
        let outcome = self.enqueue(workspace, Command::Journal(Box::new(append))).await?;
        if let Outcome::Journaled { turn_write, result } = outcome {
            Ok((turn_write, result))
        } else {
            Err(mismatch())
        }
    }

    /// Ends an attempt; the turn as its next one begins.
    pub async fn retry(&self, retry: Retry) -> Result<TurnWriteOutcome, Error> {
        turn_write(self.enqueue(retry.turn.workspace, Command::Retry(retry)).await?)
    }

    /// Gives a turn back to whoever claims it.
    pub async fn hand_back(&self, hand_back: HandBack) -> Result<TurnWriteOutcome, Error> {
        turn_write(self.enqueue(hand_back.turn.workspace, Command::HandBack(hand_back)).await?)
    }

    /// Makes, changes or takes out of use a webhook endpoint. Answered within 4 s.
    pub async fn write_endpoint(&self, write: EndpointWrite) -> Result<Endpoint, Error> {
        let outcome = self.request(write.workspace, Command::Endpoint(Box::new(write))).await?;
        if let Outcome::Endpoint(endpoint) = outcome { Ok(*endpoint) } else { Err(mismatch()) }
    }

    /// Sends a test event to a webhook endpoint; its delivery. Answered within 4 s.
    pub async fn test_endpoint(
        &self,
        workspace: WorkspaceId,
        endpoint: EndpointId,
    ) -> Result<DeliveryId, Error> {
        let write = EndpointWrite { workspace, endpoint, action: EndpointAction::Test };
        let outcome = self.request(workspace, Command::Endpoint(Box::new(write))).await?;
        if let Outcome::Tested(delivery) = outcome { Ok(delivery) } else { Err(mismatch()) }
    }

    /// Disables a webhook endpoint whose answers ask for it. Waits for the store as long as the
    /// process lives.
    pub async fn disable_endpoint(
        &self,
        workspace: WorkspaceId,
        endpoint: EndpointId,
        disable: DisableEndpoint,
    ) -> Result<Endpoint, Error> {
        let write = EndpointWrite { workspace, endpoint, action: EndpointAction::Disable(disable) };
        let outcome = self.enqueue(workspace, Command::Endpoint(Box::new(write))).await?;
        if let Outcome::Endpoint(endpoint) = outcome { Ok(*endpoint) } else { Err(mismatch()) }
    }

    /// How many items wait in all shards.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.shards.iter().map(|shard| shard.depth.commands.load(Ordering::Relaxed)).sum()
    }

    async fn request(&self, workspace: WorkspaceId, command: Command) -> Result<Outcome, Error> {
        let shard = self.shard(workspace);
        if shard.depth.is_full() {
            return Err(Error::Overloaded {
                text: "The server is overloaded",
                retry_after: Duration::from_secs(1),
            });
        }
        let state = Arc::new(RequestState::default());
        let mut answer = shard.push(command, Arc::clone(&state));
        match tokio::time::timeout(REQUEST_TIMEOUT, &mut answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(shard_stopped()),
            Err(_) => {
                // From here on the shard knows that nobody listens; what it said before still counts.
                let outcome_unknown = state.abandon();
                answer.close();
                answer.try_recv().unwrap_or(Err(Error::Unavailable { outcome_unknown, source: None }))
            }
        }
    }

    async fn enqueue(&self, workspace: WorkspaceId, command: Command) -> Result<Outcome, Error> {
        self.shard(workspace).push(command, Arc::default()).await.unwrap_or_else(|_| Err(shard_stopped()))
    }

    fn shard(&self, workspace: WorkspaceId) -> &ShardHandle {
        // The same hash in every process, so that two seldom lock a workspace from several shards.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(workspace);
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        let index = usize::try_from(hash % count).unwrap_or(0);
        &self.shards[index]
    }
}

impl ShardHandle {
    fn push(&self, command: Command, state: Arc<RequestState>) -> oneshot::Receiver<Result<Outcome, Error>> {
        let (reply, answer) = oneshot::channel();
        let queued = QueuedCommand { command, reply: Some(reply), state };
        self.depth.add(queued.bytes());
        // Where the shard has ended, the sender is dropped with the item, and the caller sees that.
        let _ = self.sender.send(queued);
        answer
    }
}

fn turn_write(outcome: Outcome) -> Result<TurnWriteOutcome, Error> {
    if let Outcome::TurnWrite(outcome) = outcome { Ok(outcome) } else { Err(mismatch()) }
}

/// The outcome does not belong to the command.
fn mismatch() -> Error {
    Error::internal("the outcome does not belong to the command")
}

/// The shard has ended, for the process stops; what it had sent may be there.
fn shard_stopped() -> Error {
    Error::Unavailable { outcome_unknown: true, source: Some(Box::new(StoreError::Stopped)) }
}
