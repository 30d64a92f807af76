//! One batch as one transaction: lock, read, decide, write, commit.

use std::time::{Duration, Instant};

use super::needs::Needs;
use super::read::{read, store_now};
use super::unknown::{Unknown, Witness};
use super::write::write;
use super::{Slot, WriterContext};
use crate::domain::batch::{Batch, Effects, Item, Outcome, Setting};
use crate::domain::error::Error;
use crate::domain::turn::Door;
use crate::store::StoreError;
use crate::telemetry::{WRITER_BATCH_ITEMS, WRITER_BATCH_SECONDS};

/// How long a batch may take before its connection is given up.
pub(super) const BATCH: Duration = Duration::from_secs(8);

/// What a committed batch came to.
pub(super) struct Done {
    /// In the order of the items.
    pub outcomes: Vec<Result<Outcome, Error>>,
    pub effects: Effects,
    /// Slots that were reserved and may have turns started in them.
    pub slots: Vec<Slot>,
}

/// Why a batch was not, or may not have been, committed.
pub(super) struct Failed {
    pub error: StoreError,
    /// The commit was sent: it may have happened.
    pub unknown: Option<Unknown>,
}

/// Runs a batch.
pub(super) async fn run(context: &WriterContext, items: &[&Item]) -> Result<Done, Failed> {
    let mut sent = None;
    let began = Instant::now();
    let error = match tokio::time::timeout(BATCH, run_unbounded(context, items, &mut sent)).await {
        Ok(Ok(())) => match sent.take() {
            Some(committed) => {
                record("ok", items.len(), began);
                return Ok(committed.done);
            }
            None => StoreError::Stopped,
        },
        Ok(Err(error)) => error,
        Err(_) => StoreError::TimedOut,
    };
    record("error", items.len(), began);
    Err(Failed { error, unknown: sent })
}

#[expect(clippy::cast_precision_loss, reason = "a batch has at most 256 items")]
fn record(outcome: &'static str, items: usize, began: Instant) {
    metrics::histogram!(WRITER_BATCH_ITEMS).record(items as f64);
    metrics::histogram!(WRITER_BATCH_SECONDS, "outcome" => outcome).record(began.elapsed().as_secs_f64());
}

async fn run_unbounded(
    context: &WriterContext,
    items: &[&Item],
    sent: &mut Option<Unknown>,
) -> Result<(), StoreError> {
    let mut tx = context.db.begin().await?;
    let needs = Needs::of(items.iter().copied(), context.clock.now());
    let workspaces = needs.workspaces.clone();
    let tables = read(tx.conn(), needs).await?;
    let now = store_now(tx.conn(), context.clock.as_ref()).await?;

    let slots = reserve(context, items);
    let budget = context.slots.budget(&slots, workspaces.into_iter());
    let setting = Setting {
        now,
        instant: Instant::now(),
        clock: context.clock.as_ref(),
        ids: &context.ids,
        process: context.process,
        bounds: context.bounds,
    };
    let mut batch = Batch::new(setting, budget, tables);
    let outcomes: Vec<_> = items.iter().map(|item| batch.decide(item)).collect();
    let (tables, written, effects) = batch.finish();

    write(tx.conn(), &tables, &written, now).await?;
    let witness = Witness::of(&tables, &written);
    *sent = Some(Unknown { done: Done { outcomes, effects, slots }, witness });
    tx.commit().await
}

/// One slot for each turn that a batch may start. What it does not use is free again at once.
fn reserve(context: &WriterContext, items: &[&Item]) -> Vec<Slot> {
    if !context.may_start() {
        return Vec::new();
    }
    let (mut widget, mut platform) = (0, 0);
    for item in items {
        match item {
            Item::Admit(admission) => match admission.door {
                Door::Widget => widget += 1,
                Door::Platform => platform += 1,
            },
            Item::End(_) => {
                widget += 1;
                platform += 1;
            }
            Item::Create(_)
            | Item::Journal(_)
            | Item::Retry(_)
            | Item::HandBack(_)
            | Item::Change(_)
            | Item::RenewLink(_)
            | Item::TopUp(_) => {}
        }
    }
    let mut slots = context.slots.reserve(Door::Widget, widget);
    slots.extend(context.slots.reserve(Door::Platform, platform));
    slots
}
