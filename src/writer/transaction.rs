//! One batch as one transaction: lock, read, decide, write, commit.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;

use super::batch::{Batch, DecisionContext, Effects, LoadPlan};
use super::queued_command::BoxedCommand;
use super::read::read;
use super::uncertain_commit::{CommitProbe, UncertainCommit};
use super::write::write_rare;
use super::{TurnSlot, WriterContext};
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::Api;
use crate::lifecycle::panic_text;
use crate::store::StoreError;
use crate::store::db::WRITE_TIMEOUT;
use crate::telemetry::{WRITER_BATCH_COMMANDS, WRITER_BATCH_DURATION_SECONDS};

/// What follows from a committed batch. The outcomes are in its commands.
#[derive(Default)]
pub(super) struct CommittedBatch {
    pub effects: Effects,
    /// The slots that were reserved for the turns that the batch may have started.
    pub slots: Vec<TurnSlot>,
}

/// The error of a batch that was not, or may not have been, committed.
pub(super) struct BatchError {
    pub failure: BatchFailure,
    /// The commit was sent, so it may have happened.
    pub uncertain: Option<UncertainCommit>,
}

/// Why a batch was not, or may not have been, committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of this program. `culprit` is the index of the command, if it was being planned or decided.
    #[error("a batch of commands panicked: {text}")]
    Panicked { text: String, culprit: Option<usize> },
}

impl BatchFailure {
    /// Whether a retry of the same commands may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Panicked { .. } => false,
        }
    }

    /// Whether the batch may have been committed if the commit was sent: not if the database refused the data.
    pub(super) fn may_follow_a_commit(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Panicked { .. } => true,
        }
    }
}

impl From<BatchFailure> for Error {
    fn from(failure: BatchFailure) -> Self {
        match failure {
            BatchFailure::Store(error) => error.into(),
            BatchFailure::Panicked { .. } => Self::internal(failure),
        }
    }
}

/// Decides the commands that are not abandoned, and commits their changes. If that panics, the transaction is rolled back, and
/// everything that was decided in it is dropped.
pub(super) async fn run(
    context: &WriterContext,
    commands: &mut [BoxedCommand],
) -> Result<CommittedBatch, BatchError> {
    let (mut uncertain, mut culprit) = (None, None);
    let (began, count) = (Instant::now(), commands.len());
    // Nothing of a batch that panicked is used again, except for the commands, which are decided anew.
    let batch =
        AssertUnwindSafe(run_unbounded(context, commands, &mut uncertain, &mut culprit)).catch_unwind();
    let failure: BatchFailure = match tokio::time::timeout(WRITE_TIMEOUT, batch).await {
        Ok(Ok(Ok(()))) => match uncertain.take() {
            Some(committed) => {
                record("ok", count, began);
                return Ok(committed.batch);
            }
            None => StoreError::Stopped.into(),
        },
        Ok(Ok(Err(error))) => error.into(),
        Ok(Err(panic)) => BatchFailure::Panicked { text: panic_text(&*panic).to_owned(), culprit },
        Err(_) => StoreError::TimedOut.into(),
    };
    record("error", count, began);
    Err(BatchError { failure, uncertain })
}

#[expect(clippy::cast_precision_loss, reason = "a batch has at most 256 commands")]
fn record(outcome: &'static str, commands: usize, began: Instant) {
    metrics::histogram!(WRITER_BATCH_COMMANDS).record(commands as f64);
    metrics::histogram!(WRITER_BATCH_DURATION_SECONDS, "outcome" => outcome)
        .record(began.elapsed().as_secs_f64());
}

async fn run_unbounded(
    context: &WriterContext,
    commands: &mut [BoxedCommand],
    uncertain: &mut Option<UncertainCommit>,
    culprit: &mut Option<usize>,
) -> Result<(), StoreError> {
    let mut tx = context.db.begin().await?;
    let mut plan = LoadPlan::default();
    for_each(commands, culprit, |command| command.plan(&mut plan, context.clock.now()));
    let workspaces = plan.workspaces.clone();
    let (tables, now) = read(tx.conn(), plan, &context.config_cache, context.clock.as_ref()).await?;

    let slots = reserve(context, commands);
    let budget = context.slots.budget(&slots, workspaces.into_iter());
    let decision_context = DecisionContext {
        now,
        instant: Instant::now(),
        clock: context.clock.as_ref(),
        ids: &context.ids,
        process: context.process,
        bounds: context.bounds,
    };
    let mut batch = Batch::new(decision_context, budget, tables);
    for_each(commands, culprit, |command| command.decide(&mut batch));
    let (tables, mut changes, mut effects) = batch.finish();

    let probe = CommitProbe::for_batch(&tables, &changes);
    let sources = (context.clock.as_ref(), context.ids.as_ref());
    let statements = write_rare(tx.conn(), &tables, &changes, now, sources).await?;
    effects.messages = std::mem::take(&mut changes.messages);
    let on_commit = || *uncertain = Some(UncertainCommit { batch: CommittedBatch { effects, slots }, probe });
    statements.execute_and_commit(tx, on_commit).await
}

/// Calls `step` with each command. While it runs, `culprit` is the index of its command.
fn for_each(
    commands: &mut [BoxedCommand],
    culprit: &mut Option<usize>,
    mut step: impl FnMut(&mut BoxedCommand),
) {
    for (index, command) in commands.iter_mut().enumerate() {
        *culprit = Some(index);
        step(command);
    }
    *culprit = None;
}

/// One slot for each turn that the batch may start. Unused ones are free again after the batch.
fn reserve(context: &WriterContext, commands: &[BoxedCommand]) -> Vec<TurnSlot> {
    if !context.lease.is_valid() {
        return Vec::new();
    }
    let reserve = |api: &Api| {
        let mut counts: HashMap<WorkspaceId, usize> = HashMap::new();
        for command in commands.iter().filter(|command| command.may_start().contains(api)) {
            *counts.entry(command.workspace()).or_default() += 1;
        }
        context.slots.reserve(*api, &counts)
    };
    Api::ALL.iter().flat_map(reserve).collect()
}
