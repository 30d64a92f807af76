//! Items decided within a transaction of configuration, which has its workspace's lock.

use std::time::Instant;

use uuid::Uuid;

use super::load_plan::LoadPlan;
use super::read::read;
use super::write::write;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::{IdGenerator, ProcessId};
use crate::store::{Conn, StoreError, store_now};
use crate::writer::commands::{Batch, Bounds, Command, DecisionContext, Outcome, SlotBudget};

/// The items that are decided here meet none of them.
const UNLIMITED: Bounds = Bounds {
    max_open_per_conversation: i64::MAX,
    max_open: i64::MAX,
    messages_per_conversation: None,
    spend_per_conversation: None,
    spend_per_day: None,
    test_turns_per_day: None,
};

/// Decides and writes items that start and end no turn: conversations that are made, credit that is
/// given. They hold once the caller has committed.
pub async fn decide_inline(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    commands: &[Command],
) -> Result<Vec<Result<Outcome, Error>>, StoreError> {
    let plan = LoadPlan::of(commands.iter(), clock.now());
    let tables = read(conn.reborrow(), plan).await?;
    let now = store_now(conn.reborrow(), clock).await?;
    let context = DecisionContext {
        now,
        instant: Instant::now(),
        clock,
        ids,
        // No process: nothing is started.
        process: ProcessId(Uuid::nil()),
        bounds: UNLIMITED,
    };
    let mut batch = Batch::new(context, SlotBudget::default(), tables);
    let outcomes = commands.iter().map(|command| batch.decide(command)).collect();
    let (tables, changes, _) = batch.finish();
    write(conn, &tables, &changes, now).await?;
    Ok(outcomes)
}
