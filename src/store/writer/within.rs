//! Items decided within a transaction of configuration, which has its workspace's lock.

use std::time::Instant;

use uuid::Uuid;

use super::needs::Needs;
use super::read::read;
use super::write::write;
use crate::domain::batch::{Batch, Bounds, Item, Outcome, Setting, SlotBudget};
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::{Ids, ProcessId};
use crate::store::now::store_now;
use crate::store::{Conn, StoreError};

/// The items that are decided here meet none of them.
const NO_BOUNDS: Bounds = Bounds {
    max_open_per_conversation: i64::MAX,
    max_open: i64::MAX,
    messages_per_conversation: None,
    spend_per_conversation: None,
    spend_per_day: None,
    test_turns_per_day: None,
};

/// Decides and writes items that start and end no turn: conversations that are made, credit that is
/// given. They hold once the caller has committed.
pub async fn decide_within(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &Ids,
    items: &[Item],
) -> Result<Vec<Result<Outcome, Error>>, StoreError> {
    let needs = Needs::of(items.iter(), clock.now());
    let tables = read(conn.reborrow(), needs).await?;
    let now = store_now(conn.reborrow(), clock).await?;
    let setting = Setting {
        now,
        instant: Instant::now(),
        clock,
        ids,
        // No process: nothing is started.
        process: ProcessId(Uuid::nil()),
        bounds: NO_BOUNDS,
    };
    let mut batch = Batch::new(setting, SlotBudget::default(), tables);
    let outcomes = items.iter().map(|item| batch.decide(item)).collect();
    let (tables, written, _) = batch.finish();
    write(conn, &tables, &written, now).await?;
    Ok(outcomes)
}
