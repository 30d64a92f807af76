//! One batch as one transaction: lock, read, decide, write, commit.

use std::time::Instant;

use super::load_plan::LoadPlan;
use super::read::read;
use super::uncertain_commit::{CommitProbe, UncertainCommit};
use super::write::write;
use super::{Slot, WriterContext};
use crate::domain::error::Error;
use crate::domain::turn::Api;
use crate::store::db::WRITE_TIMEOUT;
use crate::store::{StoreError, store_now};
use crate::telemetry::{WRITER_BATCH_COMMANDS, WRITER_BATCH_DURATION_SECONDS};
use crate::writer::commands::{Batch, Command, DecisionContext, Effects, Outcome};

/// What a committed batch came to.
pub(super) struct CommittedBatch {
    /// In the order of the items.
    pub outcomes: Vec<Result<Outcome, Error>>,
    pub effects: Effects,
    /// Slots that were reserved and may have turns started in them.
    pub slots: Vec<Slot>,
}

/// Why a batch was not, or may not have been, committed.
pub(super) struct BatchError {
    pub error: StoreError,
    /// The commit was sent: it may have happened.
    pub uncertain: Option<UncertainCommit>,
}

/// Runs a batch, without those items that `may_decide` does not let pass: asked of each, by its
/// index, right before it is decided.
pub(super) async fn run(
    context: &WriterContext,
    commands: &[&Command],
    may_decide: impl Fn(usize) -> bool,
) -> Result<CommittedBatch, BatchError> {
    let mut uncertain = None;
    let began = Instant::now();
    let batch = run_unbounded(context, commands, may_decide, &mut uncertain);
    let error = match tokio::time::timeout(WRITE_TIMEOUT, batch).await {
        Ok(Ok(())) => match uncertain.take() {
            Some(committed) => {
                record("ok", commands.len(), began);
                return Ok(committed.batch);
            }
            None => StoreError::Stopped,
        },
        Ok(Err(error)) => error,
        Err(_) => StoreError::TimedOut,
    };
    record("error", commands.len(), began);
    Err(BatchError { error, uncertain })
}

#[expect(clippy::cast_precision_loss, reason = "a batch has at most 256 items")]
fn record(outcome: &'static str, commands: usize, began: Instant) {
    metrics::histogram!(WRITER_BATCH_COMMANDS).record(commands as f64);
    metrics::histogram!(WRITER_BATCH_DURATION_SECONDS, "outcome" => outcome)
        .record(began.elapsed().as_secs_f64());
}

async fn run_unbounded(
    context: &WriterContext,
    commands: &[&Command],
    may_decide: impl Fn(usize) -> bool,
    uncertain: &mut Option<UncertainCommit>,
) -> Result<(), StoreError> {
    let mut tx = context.db.begin().await?;
    let plan = LoadPlan::of(commands.iter().copied(), context.clock.now());
    let workspaces = plan.workspaces.clone();
    let tables = read(tx.conn(), plan).await?;
    let now = store_now(tx.conn(), context.clock.as_ref()).await?;

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
    let mut outcomes = Vec::with_capacity(commands.len());
    for (index, command) in commands.iter().enumerate() {
        let abandoned = || Err(Error::Unavailable { outcome_unknown: false, source: None });
        outcomes.push(if may_decide(index) { batch.decide(command) } else { abandoned() });
    }
    let (tables, changes, effects) = batch.finish();

    write(tx.conn(), &tables, &changes, now).await?;
    let probe = CommitProbe::of(&tables, &changes);
    *uncertain = Some(UncertainCommit { batch: CommittedBatch { outcomes, effects, slots }, probe });
    tx.commit().await
}

/// One slot for each turn that a batch may start. What it does not use is free again at once.
fn reserve(context: &WriterContext, commands: &[&Command]) -> Vec<Slot> {
    if !context.may_start() {
        return Vec::new();
    }
    let (mut widget, mut platform) = (0, 0);
    for command in commands {
        match command {
            Command::Admit(admission) => match admission.api {
                Api::Widget => widget += 1,
                Api::Platform => platform += 1,
            },
            Command::End(_) => {
                widget += 1;
                platform += 1;
            }
            Command::Create(_)
            | Command::Journal(_)
            | Command::Retry(_)
            | Command::HandBack(_)
            | Command::Update(_)
            | Command::RenewLink(_)
            | Command::TopUp(_)
            | Command::Endpoint(_) => {}
        }
    }
    let mut slots = context.slots.reserve(Api::Widget, widget);
    slots.extend(context.slots.reserve(Api::Platform, platform));
    slots
}
