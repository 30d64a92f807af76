//! A shard of the writer: commits the batches of its queue, with retries.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Effects;
use super::commands::{EndAuthority, EndTurn};
use super::group_commit::{Commit, QueueLimits};
use super::queued_command::{BoxedCommand, queued};
use super::transaction::{self, BatchError, BatchFailure, CommittedBatch};
use super::uncertain_commit::UncertainCommit;
use super::{Effect, TurnSlot, WriterContext};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::turn::TurnEnd;
use crate::telemetry::{CHARGED_MICRODOLLARS, REFUNDED_MICRODOLLARS};

pub(super) const BATCH_LIMITS: QueueLimits = QueueLimits { items: 256, bytes: 4 << 20 };
/// How often a batch is tried before its requests are refused.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Commits the commands of a shard.
pub(super) struct Shard(pub(super) WriterContext);

impl Commit<BoxedCommand> for Shard {
    /// Returns the commands that must wait because the database is unavailable, and the ends of turns whose clients are gone.
    async fn commit(&mut self, commands: Vec<BoxedCommand>) -> Vec<BoxedCommand> {
        self.commit_batch(commands).await
    }
}

impl Shard {
    async fn commit_batch(&self, mut commands: Vec<BoxedCommand>) -> Vec<BoxedCommand> {
        commands.retain(|queued| !queued.is_abandoned());
        if commands.is_empty() {
            return commands;
        }
        let mut uncertain = None;
        loop {
            for attempt in 1..=MAX_ATTEMPTS {
                match self.attempt(&mut commands, &mut uncertain).await {
                    Ok(committed) => return self.complete(commands, committed),
                    // While it is unknown whether the batch was committed, it must not be decided again.
                    Err(failure) if failure.is_transient() || uncertain.is_some() => {
                        tracing::warn!(
                            attempt,
                            error = &failure as &dyn std::error::Error,
                            "a batch was not committed"
                        );
                        tokio::time::sleep(RETRY_DELAY * attempt).await;
                    }
                    Err(failure) => return self.commit_individually(commands, failure).await,
                }
            }
            let outcome_unknown = uncertain.is_some();
            for queued in commands.iter_mut().filter(|queued| queued.is_request()) {
                queued.refuse(Error::Unavailable { outcome_unknown, source: None });
            }
            // An uncertain batch stays whole and goes first: if it was committed, its effects must follow.
            if uncertain.is_none() {
                commands.retain(|queued| !queued.is_request());
                return commands;
            }
        }
    }

    /// Tries once, and again without each command whose plan or decision panics. `uncertain` is the uncertain commit of the last
    /// attempt, and then of this one.
    async fn attempt(
        &self,
        commands: &mut Vec<BoxedCommand>,
        uncertain: &mut Option<UncertainCommit>,
    ) -> Result<CommittedBatch, BatchFailure> {
        if let Some(sent) = uncertain {
            let is_committed = sent.probe.is_committed(&self.0).await?;
            if let Some(sent) = uncertain.take().filter(|_| is_committed) {
                return Ok(sent.batch);
            }
            reset(commands);
        }
        loop {
            commands.retain(|queued| !queued.is_abandoned());
            if commands.is_empty() {
                return Ok(CommittedBatch::default());
            }
            let BatchError { failure, uncertain: sent } = match transaction::run(&self.0, commands).await {
                Ok(committed) => return Ok(committed),
                Err(failed) => failed,
            };
            *uncertain = sent.filter(|_| failure.may_follow_a_commit());
            if uncertain.is_none() {
                reset(commands);
            }
            let BatchFailure::Panicked { culprit: Some(index), .. } = failure else { return Err(failure) };
            // The caller logs the error.
            commands.remove(index).refuse(failure.into());
        }
    }

    /// Invalid data, or a panic whose culprit is not known, fails only its own command.
    async fn commit_individually(
        &self,
        mut commands: Vec<BoxedCommand>,
        failure: BatchFailure,
    ) -> Vec<BoxedCommand> {
        if let [queued] = commands.as_mut_slice() {
            // The caller logs the error.
            queued.refuse(failure.into());
            return Vec::new();
        }
        let mut commands = commands.into_iter();
        while let Some(queued) = commands.next() {
            let mut remaining = Box::pin(self.commit_batch(vec![queued])).await;
            if !remaining.is_empty() {
                remaining.extend(commands);
                return remaining;
            }
        }
        Vec::new()
    }

    /// Answers the callers and sends the effects. A turn whose client was told that its message failed must not run: its end
    /// is returned.
    fn complete(&self, commands: Vec<BoxedCommand>, committed: CommittedBatch) -> Vec<BoxedCommand> {
        let CommittedBatch { mut effects, slots } = committed;
        let mut ends = Vec::new();
        for turn in commands.into_iter().filter_map(|mut queued| queued.complete()) {
            effects.started.retain(|started| started.turn.id != turn.turn);
            let end = TurnEnd::Failed(Failure::ServiceUnavailable);
            let command = EndTurn {
                turn,
                authority: EndAuthority::ClientGone,
                end,
                journal: None,
                model_error: None,
                tokens: 0,
            };
            ends.push(queued(command, Arc::default()).0);
        }
        dispatch(&self.0, effects, slots);
        ends
    }
}

/// The transaction of the commands was not committed.
fn reset(commands: &[BoxedCommand]) {
    for queued in commands {
        queued.reset();
    }
}

/// Sends the effects of a committed batch.
fn dispatch(context: &WriterContext, effects: Effects, mut slots: Vec<TurnSlot>) {
    metrics::counter!(CHARGED_MICRODOLLARS).increment(effects.charged);
    metrics::counter!(REFUNDED_MICRODOLLARS).increment(effects.refunded);
    if effects.has_deliveries {
        context.send(Effect::Deliveries);
    }
    for turn in effects.cancelled {
        context.send(Effect::Cancelled(turn));
    }
    for (turn, end) in effects.ended {
        context.send(Effect::Ended(Box::new(turn), end));
    }
    // Before the turns, which read them.
    for message in effects.messages {
        context.send(Effect::Stored(Box::new(message)));
    }
    for started in effects.started {
        let index = slots.iter().position(|slot| slot.api() == started.turn.api);
        let slot = index.map(|index| slots.swap_remove(index).assign(started.turn.workspace));
        context.send(Effect::Started(Box::new(started), slot));
    }
    for turn in effects.stop_requested {
        context.send(Effect::StopRequested(turn));
    }
    for (workspace, cursor) in effects.latest_cursors {
        context.send(Effect::EventsAdvanced(workspace, cursor));
    }
}
