//! A lane: while its commit is under way the next items gather, and are then
//! committed together, with no added delay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch::{self, Done};
use super::{Effect, WriterContext};
use crate::domain::batch::{Admitted, Effects, Ending, Item, Outcome, Right, TurnRef};
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
    pub reply: oneshot::Sender<Result<Outcome, Error>>,
    /// Set where whoever asked was answered without us. A client that has merely left still gets its
    /// reply, in the history.
    pub given_up: Arc<AtomicBool>,
}

impl Queued {
    fn is_admission(&self) -> bool {
        matches!(self.item, Item::Admit(_) | Item::Create(_))
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn bytes(&self) -> usize {
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
            Item::Create(_)
            | Item::Retry(_)
            | Item::HandBack(_)
            | Item::SetAi(_)
            | Item::RenewLink(_)
            | Item::TopUp(_) => 1024,
        }
    }
}

/// A lane's end that takes items and commits them.
pub(super) struct Lane {
    context: WriterContext,
    incoming: mpsc::UnboundedReceiver<Queued>,
    /// Items that were put back, or that the lane made itself: before all others.
    head: VecDeque<Queued>,
}

impl Lane {
    pub(super) fn new(context: WriterContext, incoming: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self { context, incoming, head: VecDeque::new() }
    }

    /// Commits what comes until `stop`, and then what is still there.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let items = self.gather();
            if !items.is_empty() {
                self.commit(items).await;
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
            self.context.waiting_fell();
            // Whoever asked has been answered already: an admission that was not sent leaves the lane.
            if queued.is_admission() && queued.is_given_up() {
                continue;
            }
            bytes += queued.bytes();
            items.push(queued);
        }
        items
    }

    fn put_back(&mut self, items: Vec<Queued>) {
        for queued in items.into_iter().rev() {
            self.context.waiting_rose();
            self.head.push_front(queued);
        }
    }

    async fn commit(&mut self, items: Vec<Queued>) {
        let mut is_repeat = false;
        for attempt in 1..=TRIES {
            let named: Vec<&Item> = items.iter().map(|queued| &queued.item).collect();
            match batch::run(&self.context, &named, is_repeat).await {
                Ok(done) => return self.settle(items, done),
                Err(failed) if failed.error.is_away() => {
                    tracing::warn!(
                        attempt,
                        error = &failed.error as &dyn std::error::Error,
                        "a batch was not committed"
                    );
                    is_repeat |= failed.is_unknown;
                    tokio::time::sleep(PAUSE * attempt).await;
                }
                Err(failed) => return self.commit_singly(items, failed.error).await,
            }
        }
        self.give_up(items, is_repeat);
    }

    /// A fault in the data fails the item that has it, alone.
    async fn commit_singly(&mut self, items: Vec<Queued>, error: StoreError) {
        if items.len() == 1 {
            tracing::error!(error = &error as &dyn std::error::Error, "the store refused an item");
            let mut items = items;
            if let Some(queued) = items.pop() {
                let _ = queued.reply.send(Err(error.into()));
            }
            return;
        }
        for queued in items {
            Box::pin(self.commit(vec![queued])).await;
        }
    }

    /// The store is away: admissions are refused, the rest waits at the head of the lane, in order.
    fn give_up(&mut self, items: Vec<Queued>, outcome_unknown: bool) {
        let (admissions, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(Queued::is_admission);
        for queued in admissions {
            let _ = queued.reply.send(Err(Error::Unavailable { outcome_unknown, source: None }));
        }
        self.put_back(rest);
    }

    fn settle(&mut self, items: Vec<Queued>, done: Done) {
        let Done { outcomes, mut effects, slots } = done;
        for (queued, outcome) in items.into_iter().zip(outcomes) {
            let turn = turn_without_key(&queued.item, &outcome);
            let is_heard = queued.reply.send(outcome).is_ok();
            if !is_heard
                && queued.given_up.load(Ordering::Acquire)
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
        let item = Item::End(Box::new(Ending { turn, right: Right::Admitter, end, journal: None }));
        let (reply, _) = oneshot::channel();
        self.put_back(vec![Queued { item, reply, given_up: Arc::default() }]);
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
    for turn in effects.cancelled {
        context.send(Effect::Cancelled(turn));
    }
    for (turn, end) in effects.ended {
        context.send(Effect::Ended(turn, end));
    }
    for turn in effects.started {
        let place = slots.iter().position(|slot| slot.door() == turn.door);
        let slot = place.map(|place| slots.swap_remove(place).assigned(turn.workspace));
        context.send(Effect::Started(Box::new(turn), slot));
    }
}
