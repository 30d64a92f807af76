//! The write path: a few lanes, a workspace always on the same one, each
//! committing its items in batches. What is decided is `domain::batch`'s; what
//! follows from it is handed on as [`Effect`]s once it is durable.

mod batch;
mod lane;
mod needs;
mod read;
mod slots;
mod standing;
mod unknown;
mod within;
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

pub use slots::{Room, Slot, SlotLimits, Slots};
pub use within::decide_within;

use super::lease::HasLease;
use super::{Db, StoreError};
use crate::domain::batch::{
    Admission, Admitted, Bounds, Changing, Created, Creation, Disabling, Effects, Ending, EndpointAction,
    EndpointWrite, HandBack, Item, Journaling, LinkRenewal, Outcome, Retry, Step,
};
use crate::domain::clock::Clock;
use crate::domain::conversation::Conversation;
use crate::domain::error::Error;
use crate::domain::ids::{DeliveryId, EndpointId, Ids, ProcessId, TurnId, WorkspaceId};
use crate::domain::turn::{Turn, TurnEnd};
use crate::domain::webhook_endpoint::Endpoint;
use lane::{Lane, Queued};
use standing::Standing;

/// How long a request waits for its place in the store.
const ADMISSION: Duration = Duration::from_secs(4);
/// How many items, and bytes, a lane holds before its door refuses.
const LANE_HOLDS: (usize, usize) = (10_000, 64 << 20);

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
    Told(WorkspaceId, i64),
    /// Deliveries were written.
    Deliveries,
}

/// What the lanes work with.
#[derive(Clone)]
pub struct WriterContext {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<Ids>,
    pub process: ProcessId,
    pub bounds: Bounds,
    pub slots: Slots,
    pub effects: mpsc::UnboundedSender<Effect>,
    /// False while this process has no good lease: it starts nothing.
    pub has_lease: HasLease,
}

impl fmt::Debug for WriterContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterContext").field("process", &self.process).finish_non_exhaustive()
    }
}

impl WriterContext {
    fn may_start(&self) -> bool {
        self.has_lease.now()
    }

    fn send(&self, effect: Effect) {
        // The receiver lives as long as the process; once it is gone nothing follows any more.
        let _ = self.effects.send(effect);
    }

    fn dispatch(&self, effects: Effects, slots: Vec<Slot>) {
        lane::dispatch(self, effects, slots);
    }
}

/// The way into one lane.
struct Entrance {
    lane: mpsc::UnboundedSender<Queued>,
    waiting: Arc<Waiting>,
}

/// What waits in a lane.
#[derive(Debug, Default)]
struct Waiting {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    fn add(&self, bytes: usize) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.items.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        let (items, bytes) = LANE_HOLDS;
        self.items.load(Ordering::Relaxed) >= items || self.bytes.load(Ordering::Relaxed) >= bytes
    }
}

/// The way into the store for everything that is written while the server runs.
#[derive(Clone)]
pub struct Writer {
    lanes: Arc<[Entrance]>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("lanes", &self.lanes.len()).finish()
    }
}

impl Writer {
    /// A writer with `lanes` lanes, and the tasks that run them until `stop`, each to be spawned.
    pub fn new(
        context: &WriterContext,
        lanes: usize,
        stop: &CancellationToken,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let mut entrances = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..lanes.max(1) {
            let (lane, incoming) = mpsc::unbounded_channel();
            let waiting = Arc::new(Waiting::default());
            tasks.push(Lane::new(context.clone(), incoming, Arc::clone(&waiting)).run(stop.clone()));
            entrances.push(Entrance { lane, waiting });
        }
        (Self { lanes: entrances.into() }, tasks)
    }

    /// Admits a message. Answered within 4 s, whatever becomes of the store.
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, Error> {
        let workspace = admission.workspace;
        let outcome = self.ask(workspace, Item::Admit(Box::new(admission))).await?;
        if let Outcome::Admitted(admitted) = outcome { Ok(admitted) } else { Err(mismatch()) }
    }

    /// Makes a conversation. Answered within 4 s.
    pub async fn create(&self, creation: Creation) -> Result<Created, Error> {
        let workspace = creation.workspace;
        let outcome = self.ask(workspace, Item::Create(Box::new(creation))).await?;
        if let Outcome::Created(created) = outcome { Ok(created) } else { Err(mismatch()) }
    }

    /// Changes a conversation, which may end it. Answered within 4 s.
    pub async fn change(&self, changing: Changing) -> Result<Conversation, Error> {
        let workspace = changing.workspace;
        let outcome = self.ask(workspace, Item::Change(Box::new(changing))).await?;
        if let Outcome::Conversation(conversation) = outcome { Ok(*conversation) } else { Err(mismatch()) }
    }

    /// Gives a conversation a new link. Answered within 4 s.
    pub async fn renew_link(&self, renewal: LinkRenewal) -> Result<(), Error> {
        self.ask(renewal.workspace, Item::RenewLink(renewal)).await.map(drop)
    }

    /// Ends a turn. Waits for the store as long as the process lives.
    pub async fn end(&self, ending: Ending) -> Result<Step, Error> {
        let workspace = ending.turn.workspace;
        step(self.submit(workspace, Item::End(Box::new(ending))).await?)
    }

    /// Keeps rows of a turn's journal; the result is that of a call over our own store.
    /// Waits for the store as long as the process lives.
    pub async fn journal(&self, journaling: Journaling) -> Result<(Step, Option<Value>), Error> {
        let workspace = journaling.turn.workspace;
        let outcome = self.submit(workspace, Item::Journal(Box::new(journaling))).await?;
        if let Outcome::Journaled { step, result } = outcome { Ok((step, result)) } else { Err(mismatch()) }
    }

    /// Ends an attempt; the turn as its next one begins.
    pub async fn retry(&self, retry: Retry) -> Result<Step, Error> {
        step(self.submit(retry.turn.workspace, Item::Retry(retry)).await?)
    }

    /// Gives a turn back to whoever claims it.
    pub async fn hand_back(&self, hand_back: HandBack) -> Result<Step, Error> {
        step(self.submit(hand_back.turn.workspace, Item::HandBack(hand_back)).await?)
    }

    /// Makes, changes or takes out of use a webhook endpoint. Answered within 4 s.
    pub async fn write_endpoint(&self, write: EndpointWrite) -> Result<Endpoint, Error> {
        let outcome = self.ask(write.workspace, Item::Endpoint(Box::new(write))).await?;
        if let Outcome::Endpoint(endpoint) = outcome { Ok(*endpoint) } else { Err(mismatch()) }
    }

    /// Sends a test event to a webhook endpoint; its delivery. Answered within 4 s.
    pub async fn test_endpoint(
        &self,
        workspace: WorkspaceId,
        endpoint: EndpointId,
    ) -> Result<DeliveryId, Error> {
        let write = EndpointWrite { workspace, endpoint, action: EndpointAction::Test };
        let outcome = self.ask(workspace, Item::Endpoint(Box::new(write))).await?;
        if let Outcome::Tested(delivery) = outcome { Ok(delivery) } else { Err(mismatch()) }
    }

    /// Disables a webhook endpoint whose answers ask for it. Waits for the store as long as the
    /// process lives.
    pub async fn disable_endpoint(
        &self,
        workspace: WorkspaceId,
        endpoint: EndpointId,
        disabling: Disabling,
    ) -> Result<Endpoint, Error> {
        let write = EndpointWrite { workspace, endpoint, action: EndpointAction::Disable(disabling) };
        let outcome = self.submit(workspace, Item::Endpoint(Box::new(write))).await?;
        if let Outcome::Endpoint(endpoint) = outcome { Ok(*endpoint) } else { Err(mismatch()) }
    }

    /// How many items wait in all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.items.load(Ordering::Relaxed)).sum()
    }

    async fn ask(&self, workspace: WorkspaceId, item: Item) -> Result<Outcome, Error> {
        let entrance = self.entrance(workspace);
        if entrance.waiting.is_full() {
            return Err(Error::Overloaded {
                text: "The server is overloaded",
                retry_after: Duration::from_secs(1),
            });
        }
        let standing = Arc::new(Standing::default());
        let mut answer = entrance.enter(item, Arc::clone(&standing));
        match tokio::time::timeout(ADMISSION, &mut answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                // From here on the lane knows that nobody listens; what it said before still counts.
                let outcome_unknown = standing.give_up();
                answer.close();
                answer.try_recv().unwrap_or(Err(Error::Unavailable { outcome_unknown, source: None }))
            }
        }
    }

    async fn submit(&self, workspace: WorkspaceId, item: Item) -> Result<Outcome, Error> {
        self.entrance(workspace).enter(item, Arc::default()).await.unwrap_or_else(|_| Err(gone()))
    }

    fn entrance(&self, workspace: WorkspaceId) -> &Entrance {
        // The same hash in every process, so that two seldom lock a workspace from several lanes.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(workspace);
        let count = u64::try_from(self.lanes.len()).unwrap_or(1);
        let index = usize::try_from(hash % count).unwrap_or(0);
        &self.lanes[index]
    }
}

impl Entrance {
    fn enter(&self, item: Item, standing: Arc<Standing>) -> oneshot::Receiver<Result<Outcome, Error>> {
        let (reply, answer) = oneshot::channel();
        let queued = Queued { item, reply: Some(reply), standing };
        self.waiting.add(queued.bytes());
        // Where the lane has ended, the sender is dropped with the item, and the caller sees that.
        let _ = self.lane.send(queued);
        answer
    }
}

fn step(outcome: Outcome) -> Result<Step, Error> {
    if let Outcome::Step(step) = outcome { Ok(step) } else { Err(mismatch()) }
}

/// An outcome of another kind than its item: a fault of ours.
fn mismatch() -> Error {
    Error::Unavailable { outcome_unknown: true, source: Some("the outcome is of another kind".into()) }
}

/// The lane has ended, for the process stops; what it had sent may be there.
fn gone() -> Error {
    Error::Unavailable { outcome_unknown: true, source: Some(Box::new(StoreError::Stopped)) }
}
