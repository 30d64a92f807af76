//! A lane: while its commit is under way the next items gather, and are then
//! committed together, with no added delay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch::{self, Done};
use super::standing::Standing;
use super::unknown::Unknown;
use super::{Effect, Waiting, WriterContext};
use crate::domain::batch::{Admitted, Effects, Ending, EndpointAction, Item, Outcome, Right, TurnRef};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnEnd;
use crate::store::StoreError;

const MAX_ITEMS: usize = 256;
const MAX_BYTES: usize = 4 << 20;
/// How often a batch is tried before its admissions are refused.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// An item on its way, and whom to tell.
pub(super) struct Queued {
    pub item: Item,
    /// None once it was answered.
    pub reply: Option<oneshot::Sender<Result<Outcome, Error>>>,
    /// Whether whoever asked was answered without us. A client that has merely left still gets its
    /// reply, in the history.
    pub standing: Arc<Standing>,
}

impl Queued {
    /// Whether a client waits for it, a few seconds at most. All else waits for the store.
    fn is_request(&self) -> bool {
        match self.item {
            Item::Admit(_) | Item::Create(_) | Item::Change(_) | Item::RenewLink(_) | Item::TopUp(_) => true,
            Item::Endpoint(ref write) => !matches!(write.action, EndpointAction::Disable(_)),
            Item::End(_) | Item::Journal(_) | Item::Retry(_) | Item::HandBack(_) => false,
        }
    }

    /// Whoever asked has been told that it failed: it must not happen later.
    fn is_given_up(&self) -> bool {
        self.is_request() && self.standing.is_given_up()
    }

    /// Whether it may be decided now: not where it was given up since.
    fn send(&self) -> bool {
        !self.is_request() || self.standing.send()
    }

    /// False where nobody hears it.
    fn answer(&mut self, outcome: Result<Outcome, Error>) -> bool {
        self.reply.take().is_some_and(|reply| reply.send(outcome).is_ok())
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.item {
            Item::Admit(admission) => {
                admission.text.len() + admission.metadata.as_ref().map_or(0, String::len) + 512
            }
            Item::End(ending) => match &ending.end {
                TurnEnd::Completed(reply) => reply.text.len() + reply.function_calls.len() + 512,
                TurnEnd::Failed(_) | TurnEnd::Discarded(_) => 512,
            },
            Item::Journal(journaling) => {
                let rows = journaling.rows.iter().chain(&journaling.result);
                rows.map(|row| row.content.len() + row.result.as_ref().map_or(0, String::len) + 256).sum()
            }
            Item::Create(creation) => {
                let variables = creation.key_variables.len() + creation.visitor_variables.len();
                variables + creation.metadata.as_ref().map_or(0, String::len) + 1024
            }
            Item::Change(changing) => changing.change.metadata.as_ref().map_or(0, String::len) + 1024,
            Item::Retry(_) | Item::HandBack(_) | Item::RenewLink(_) | Item::TopUp(_) => 1024,
            Item::Endpoint(_) => 8192,
        }
    }
}

/// A lane's end that takes items and commits them.
pub(super) struct Lane {
    context: WriterContext,
    incoming: mpsc::UnboundedReceiver<Queued>,
    /// Items that were put back, or that the lane made itself: before all others.
    head: VecDeque<Queued>,
    /// A batch whose commit was never answered; before everything, for nobody knows what it changed.
    unknown: Option<(Vec<Queued>, Unknown)>,
    /// What waits, `head` included.
    waiting: Arc<Waiting>,
}

impl Lane {
    pub(super) fn new(
        context: WriterContext,
        incoming: mpsc::UnboundedReceiver<Queued>,
        waiting: Arc<Waiting>,
    ) -> Self {
        Self { context, incoming, head: VecDeque::new(), unknown: None, waiting }
    }

    /// Commits what comes until `stop`, and then what is still there.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let (items, unknown) = match self.unknown.take() {
                Some((items, unknown)) => (items, Some(unknown)),
                None => (self.gather(), None),
            };
            if !items.is_empty() {
                let left = self.commit(items, unknown).await;
                self.put_back(left);
                continue;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                queued = self.incoming.recv() => match queued {
                    Some(queued) => self.head.push_back(queued),
                    None => return,
                },
                () = stop.cancelled() => {}
            }
        }
    }

    fn gather(&mut self) -> Vec<Queued> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < MAX_ITEMS && bytes < MAX_BYTES {
            let Some(queued) = self.head.pop_front().or_else(|| self.incoming.try_recv().ok()) else { break };
            self.waiting.remove(queued.bytes());
            // Whoever asked has been answered already: an admission that was not sent leaves the lane.
            if queued.is_given_up() {
                continue;
            }
            bytes += queued.bytes();
            items.push(queued);
        }
        items
    }

    fn put_back(&mut self, items: Vec<Queued>) {
        for queued in items.into_iter().rev() {
            self.waiting.add(queued.bytes());
            self.head.push_front(queued);
        }
    }

    /// Commits items, and returns those that are still to be, in order: the store is away.
    async fn commit(&mut self, mut items: Vec<Queued>, mut unknown: Option<Unknown>) -> Vec<Queued> {
        for attempt in 1..=TRIES {
            match self.attempt(&mut items, &mut unknown).await {
                Ok(done) => {
                    self.settle(items, done);
                    return Vec::new();
                }
                // While it is unknown whether the batch is there, nothing of it may be decided anew.
                Err(error) if error.is_away() || unknown.is_some() => {
                    tracing::warn!(
                        attempt,
                        error = &error as &dyn std::error::Error,
                        "a batch was not committed"
                    );
                    tokio::time::sleep(PAUSE * attempt).await;
                }
                Err(error) => return self.commit_singly(items, error).await,
            }
        }
        self.give_up(items, unknown)
    }

    /// Tries once. `unknown` is what became of the try before, and then of this one.
    async fn attempt(
        &self,
        items: &mut Vec<Queued>,
        unknown: &mut Option<Unknown>,
    ) -> Result<Done, StoreError> {
        if let Some(sent) = unknown {
            let is_committed = sent.witness.is_there(&self.context).await?;
            if let Some(sent) = unknown.take().filter(|_| is_committed) {
                return Ok(sent.done);
            }
            call_back(items);
        }
        items.retain(|queued| !queued.is_given_up());
        let named: Vec<&Item> = items.iter().map(|queued| &queued.item).collect();
        let may_decide = |index: usize| items.get(index).is_some_and(Queued::send);
        batch::run(&self.context, &named, may_decide).await.map_err(|failed| {
            // What the store refused as data is not there, whenever it did so.
            *unknown = failed.unknown.filter(|_| failed.error.is_away());
            if unknown.is_none() {
                call_back(items);
            }
            failed.error
        })
    }

    /// A fault in the data fails the item that has it, alone.
    async fn commit_singly(&mut self, mut items: Vec<Queued>, error: StoreError) -> Vec<Queued> {
        if let [queued] = items.as_mut_slice() {
            tracing::error!(error = &error as &dyn std::error::Error, "the store refused an item");
            queued.answer(Err(error.into()));
            return Vec::new();
        }
        let mut items = items.into_iter();
        while let Some(queued) = items.next() {
            let mut left = Box::pin(self.commit(vec![queued], None)).await;
            if !left.is_empty() || self.unknown.is_some() {
                left.extend(items);
                return left;
            }
        }
        Vec::new()
    }

    /// The store is away: requests are refused, and the rest is left, in order.
    fn give_up(&mut self, mut items: Vec<Queued>, unknown: Option<Unknown>) -> Vec<Queued> {
        let outcome_unknown = unknown.is_some();
        for queued in items.iter_mut().filter(|queued| queued.is_request()) {
            queued.standing.give_up();
            queued.answer(Err(Error::Unavailable { outcome_unknown, source: None }));
        }
        if let Some(unknown) = unknown {
            // Kept whole: if it was committed, what follows from it is still to be done.
            self.unknown = Some((items, unknown));
            return Vec::new();
        }
        items.retain(|queued| !queued.is_request());
        items
    }

    fn settle(&mut self, items: Vec<Queued>, done: Done) {
        let Done { outcomes, mut effects, slots } = done;
        for (mut queued, outcome) in items.into_iter().zip(outcomes) {
            let turn = turn_without_key(&queued.item, &outcome);
            if !queued.answer(outcome)
                && queued.is_given_up()
                && let Some(turn) = turn
            {
                self.end_unheard(turn, &mut effects);
            }
        }
        self.context.dispatch(effects, slots);
    }

    /// Whoever sent the message was told that it failed: its turn must not run. A retry with a key
    /// would find it; without one nobody ever will.
    fn end_unheard(&mut self, turn: TurnRef, effects: &mut Effects) {
        effects.started.retain(|started| started.id != turn.turn);
        let end = TurnEnd::Failed(Failure::ServiceUnavailable);
        let item = Item::End(Box::new(Ending { turn, right: Right::Unheard, end, journal: None }));
        let (reply, _) = oneshot::channel();
        self.put_back(vec![Queued { item, reply: Some(reply), standing: Arc::default() }]);
    }
}

/// The items' transaction was not committed.
fn call_back(items: &[Queued]) {
    for queued in items {
        queued.standing.call_back();
    }
}

fn turn_without_key(item: &Item, outcome: &Result<Outcome, Error>) -> Option<TurnRef> {
    let Item::Admit(admission) = item else { return None };
    if admission.idempotency.is_some() {
        return None;
    }
    let turn: TurnId = match outcome {
        Ok(Outcome::Admitted(Admitted::Waiting(turn) | Admitted::Answered { turn: Some(turn), .. })) => *turn,
        Ok(_) | Err(_) => return None,
    };
    let conversation = match &admission.target {
        crate::domain::batch::Target::Existing { id, .. } | crate::domain::batch::Target::New { id, .. } => {
            *id
        }
    };
    Some(TurnRef { workspace: admission.workspace, conversation, turn })
}

/// Hands on what follows from a batch.
pub(super) fn dispatch(context: &WriterContext, effects: Effects, mut slots: Vec<super::Slot>) {
    if effects.has_deliveries {
        context.send(Effect::Deliveries);
    }
    for turn in effects.cancelled {
        context.send(Effect::Cancelled(turn));
    }
    for (turn, end) in effects.ended {
        context.send(Effect::Ended(Box::new(turn), end));
    }
    for turn in effects.started {
        let place = slots.iter().position(|slot| slot.door() == turn.door);
        let slot = place.map(|place| slots.swap_remove(place).assigned(turn.workspace));
        context.send(Effect::Started(Box::new(turn), slot));
    }
    for (workspace, cursor) in effects.told {
        context.send(Effect::Told(workspace, cursor));
    }
}
