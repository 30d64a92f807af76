//! One batch as one transaction: lock, read, decide, write, commit.

use std::time::Instant;

use super::needs::Needs;
use super::read::read;
use super::unknown::{Unknown, Witness};
use super::write::write;
use super::{Slot, WriterContext};
use crate::domain::batch::{Batch, Effects, Item, Outcome, Setting};
use crate::domain::error::Error;
use crate::domain::turn::Door;
use crate::store::StoreError;
use crate::store::db::WRITE;
use crate::store::now::store_now;
use crate::telemetry::{WRITER_BATCH_ITEMS, WRITER_BATCH_SECONDS};

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

/// Runs a batch, without those items that `may_decide` does not let pass: asked of each, by its
/// index, right before it is decided.
pub(super) async fn run(
    context: &WriterContext,
    items: &[&Item],
    may_decide: impl Fn(usize) -> bool,
) -> Result<Done, Failed> {
    let mut sent = None;
    let began = Instant::now();
    let batch = run_unbounded(context, items, may_decide, &mut sent);
    let error = match tokio::time::timeout(WRITE, batch).await {
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
    may_decide: impl Fn(usize) -> bool,
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
    let mut outcomes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let given_up = || Err(Error::Unavailable { outcome_unknown: false, source: None });
        outcomes.push(if may_decide(index) { batch.decide(item) } else { given_up() });
    }
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
            | Item::TopUp(_)
            | Item::Endpoint(_) => {}
        }
    }
    let mut slots = context.slots.reserve(Door::Widget, widget);
    slots.extend(context.slots.reserve(Door::Platform, platform));
    slots
}
