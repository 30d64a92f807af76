//! One batch as one transaction: lock, read, decide, write, commit.

use std::time::Instant;

use super::batch::{Batch, DecisionContext, Effects, LoadPlan};
use super::queued_command::BoxedCommand;
use super::read::read;
use super::uncertain_commit::{CommitProbe, UncertainCommit};
use super::write::write_rare;
use super::{TurnSlot, WriterContext};
use crate::domain::turn::Api;
use crate::store::StoreError;
use crate::store::db::WRITE_TIMEOUT;
use crate::telemetry::{WRITER_BATCH_COMMANDS, WRITER_BATCH_DURATION_SECONDS};

/// What follows from a committed batch. The outcomes are in its commands.
pub(super) struct CommittedBatch {
    pub effects: Effects,
    /// The slots that were reserved for the turns that the batch may have started.
    pub slots: Vec<TurnSlot>,
}

/// The error of a batch that was not, or may not have been, committed.
pub(super) struct BatchError {
    pub error: StoreError,
    /// The commit was sent, so it may have happened.
    pub uncertain: Option<UncertainCommit>,
}

/// Decides the commands that are not abandoned, and commits their changes.
pub(super) async fn run(
    context: &WriterContext,
    commands: &mut [BoxedCommand],
) -> Result<CommittedBatch, BatchError> {
    let mut uncertain = None;
    let (began, count) = (Instant::now(), commands.len());
    let batch = run_unbounded(context, commands, &mut uncertain);
    let error = match tokio::time::timeout(WRITE_TIMEOUT, batch).await {
        Ok(Ok(())) => match uncertain.take() {
            Some(committed) => {
                record("ok", count, began);
                return Ok(committed.batch);
            }
            None => StoreError::Stopped,
        },
        Ok(Err(error)) => error,
        Err(_) => StoreError::TimedOut,
    };
    record("error", count, began);
    Err(BatchError { error, uncertain })
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
) -> Result<(), StoreError> {
    let mut tx = context.db.begin().await?;
    let mut plan = LoadPlan::default();
    for command in &mut *commands {
        command.plan(&mut plan, context.clock.now());
    }
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
    for command in &mut *commands {
        command.decide(&mut batch);
    }
    let (tables, mut changes, mut effects) = batch.finish();

    let probe = CommitProbe::for_batch(&tables, &changes);
    let statements = write_rare(tx.conn(), &tables, &changes, now).await?;
    effects.messages = std::mem::take(&mut changes.messages);
    let on_commit = || *uncertain = Some(UncertainCommit { batch: CommittedBatch { effects, slots }, probe });
    statements.execute_and_commit(tx, on_commit).await
}

/// One slot for each turn that the batch may start. Unused ones are free again at once.
fn reserve(context: &WriterContext, commands: &[BoxedCommand]) -> Vec<TurnSlot> {
    if !context.lease.is_valid() {
        return Vec::new();
    }
    let count = |api| commands.iter().filter(|command| command.may_start().contains(api)).count();
    Api::ALL.iter().flat_map(|api| context.slots.reserve(*api, count(api))).collect()
}
