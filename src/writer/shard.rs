//! A shard of the writer: while it commits a batch, the next commands gather, and are then committed together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::Effects;
use super::commands::{EndAuthority, EndTurn};
use super::queued_command::{QueuedCommand, queued};
use super::transaction::{self, CommittedBatch};
use super::uncertain_commit::UncertainCommit;
use super::{Effect, QueueDepth, Slot, WriterContext};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::turn::{TurnEnd, TurnRef};
use crate::store::StoreError;

const MAX_COMMANDS: usize = 256;
const MAX_BYTES: usize = 4 << 20;
/// How often a batch is tried before its requests are refused.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The consumer of a shard's queue.
pub(super) struct Shard {
    context: WriterContext,
    incoming: mpsc::UnboundedReceiver<Box<dyn QueuedCommand>>,
    /// Commands that were put back, or that the shard created: before all others.
    front: VecDeque<Box<dyn QueuedCommand>>,
    /// A batch whose commit was not answered. It comes first, because it is unknown what it changed.
    uncertain: Option<(Vec<Box<dyn QueuedCommand>>, UncertainCommit)>,
    /// The length of the queue, `front` included.
    depth: Arc<QueueDepth>,
}

impl Shard {
    pub(super) fn new(
        context: WriterContext,
        incoming: mpsc::UnboundedReceiver<Box<dyn QueuedCommand>>,
        depth: Arc<QueueDepth>,
    ) -> Self {
        Self { context, incoming, front: VecDeque::new(), uncertain: None, depth }
    }

    /// Commits commands until `stop`, and then those that are still queued.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let (commands, uncertain) = match self.uncertain.take() {
                Some((commands, uncertain)) => (commands, Some(uncertain)),
                None => (self.next_batch(), None),
            };
            if !commands.is_empty() {
                let remaining = self.commit(commands, uncertain).await;
                self.requeue(remaining);
                continue;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                queued = self.incoming.recv() => match queued {
                    Some(queued) => self.front.push_back(queued),
                    None => return,
                },
                () = stop.cancelled() => {}
            }
        }
    }

    fn next_batch(&mut self) -> Vec<Box<dyn QueuedCommand>> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        while commands.len() < MAX_COMMANDS && bytes < MAX_BYTES {
            let Some(queued) = self.front.pop_front().or_else(|| self.incoming.try_recv().ok()) else {
                break;
            };
            self.depth.remove(queued.bytes());
            // Its caller has been answered.
            if queued.is_abandoned() {
                continue;
            }
            bytes += queued.bytes();
            commands.push(queued);
        }
        commands
    }

    fn requeue(&mut self, commands: Vec<Box<dyn QueuedCommand>>) {
        for queued in commands.into_iter().rev() {
            self.depth.add(queued.bytes());
            self.front.push_front(queued);
        }
    }

    /// Commits a batch. Returns the commands that must wait because the database is unavailable, in order.
    async fn commit(
        &mut self,
        mut commands: Vec<Box<dyn QueuedCommand>>,
        mut uncertain: Option<UncertainCommit>,
    ) -> Vec<Box<dyn QueuedCommand>> {
        for attempt in 1..=MAX_ATTEMPTS {
            match self.attempt(&mut commands, &mut uncertain).await {
                Ok(committed) => {
                    self.complete(commands, committed);
                    return Vec::new();
                }
                // While it is unknown whether the batch was committed, it must not be decided again.
                Err(error) if error.is_transient() || uncertain.is_some() => {
                    tracing::warn!(
                        attempt,
                        error = &error as &dyn std::error::Error,
                        "a batch was not committed"
                    );
                    tokio::time::sleep(RETRY_DELAY * attempt).await;
                }
                Err(error) => return self.commit_individually(commands, error).await,
            }
        }
        self.abandon(commands, uncertain)
    }

    /// Tries once. `uncertain` is the uncertain commit of the last attempt, and then of this one.
    async fn attempt(
        &self,
        commands: &mut Vec<Box<dyn QueuedCommand>>,
        uncertain: &mut Option<UncertainCommit>,
    ) -> Result<CommittedBatch, StoreError> {
        if let Some(sent) = uncertain {
            let is_committed = sent.probe.is_committed(&self.context).await?;
            if let Some(sent) = uncertain.take().filter(|_| is_committed) {
                return Ok(sent.batch);
            }
            reset(commands);
        }
        commands.retain(|queued| !queued.is_abandoned());
        transaction::run(&self.context, commands).await.map_err(|failed| {
            // Data that the database refused was not committed, even if the commit was sent.
            *uncertain = failed.uncertain.filter(|_| failed.error.is_transient());
            if uncertain.is_none() {
                reset(commands);
            }
            failed.error
        })
    }

    /// Invalid data fails only its own command.
    async fn commit_individually(
        &mut self,
        mut commands: Vec<Box<dyn QueuedCommand>>,
        error: StoreError,
    ) -> Vec<Box<dyn QueuedCommand>> {
        if let [queued] = commands.as_mut_slice() {
            // The caller logs the error.
            queued.refuse(error.into());
            return Vec::new();
        }
        let mut commands = commands.into_iter();
        while let Some(queued) = commands.next() {
            let mut remaining = Box::pin(self.commit(vec![queued], None)).await;
            if !remaining.is_empty() || self.uncertain.is_some() {
                remaining.extend(commands);
                return remaining;
            }
        }
        Vec::new()
    }

    /// The database is unavailable: refuses the requests, and returns the other commands in order.
    fn abandon(
        &mut self,
        mut commands: Vec<Box<dyn QueuedCommand>>,
        uncertain: Option<UncertainCommit>,
    ) -> Vec<Box<dyn QueuedCommand>> {
        let outcome_unknown = uncertain.is_some();
        for queued in commands.iter_mut().filter(|queued| queued.is_request()) {
            queued.refuse(Error::Unavailable { outcome_unknown, source: None });
        }
        if let Some(uncertain) = uncertain {
            // The whole batch stays: if it was committed, its effects must follow.
            self.uncertain = Some((commands, uncertain));
            return Vec::new();
        }
        commands.retain(|queued| !queued.is_request());
        commands
    }

    fn complete(&mut self, commands: Vec<Box<dyn QueuedCommand>>, committed: CommittedBatch) {
        let CommittedBatch { mut effects, slots } = committed;
        for mut queued in commands {
            if let Some(turn) = queued.complete() {
                self.end_for_gone_client(turn, &mut effects);
            }
        }
        dispatch(&self.context, effects, slots);
    }

    /// The client was told that its message failed, so the turn must not run.
    fn end_for_gone_client(&mut self, turn: TurnRef, effects: &mut Effects) {
        effects.started.retain(|started| started.id != turn.turn);
        let end = TurnEnd::Failed(Failure::ServiceUnavailable);
        let command = EndTurn { turn, authority: EndAuthority::ClientGone, end, journal: None };
        self.requeue(vec![queued(command, Arc::default()).0]);
    }
}

/// The transaction of the commands was not committed.
fn reset(commands: &[Box<dyn QueuedCommand>]) {
    for queued in commands {
        queued.reset();
    }
}

/// Sends the effects of a committed batch.
fn dispatch(context: &WriterContext, effects: Effects, mut slots: Vec<Slot>) {
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
        let index = slots.iter().position(|slot| slot.api() == turn.api);
        let slot = index.map(|index| slots.swap_remove(index).assign(turn.workspace));
        context.send(Effect::Started(Box::new(turn), slot));
    }
    for (workspace, cursor) in effects.latest_cursors {
        context.send(Effect::EventsAdvanced(workspace, cursor));
    }
}
