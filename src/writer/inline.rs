//! A command decided within a transaction of its caller, which holds the workspace's lock.

use std::time::Instant;

use uuid::Uuid;

use super::batch::{Batch, Bounds, DecisionContext, LoadPlan, SlotBudget};
use super::commands::Decision;
use super::config_cache::ConfigCache;
use super::read::read;
use super::write::write_rare;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::{IdGenerator, ProcessId};
use crate::domain::token_budget::TokenBudgets;
use crate::store::{Conn, StoreError};

/// No command that is decided here checks them.
const UNLIMITED: Bounds = Bounds {
    max_open_per_conversation: i64::MAX,
    max_open: i64::MAX,
    messages_per_conversation: None,
    spend_per_conversation: None,
    spend_per_day: None,
    test_turns_per_day: None,
    untouched_conversations: None,
    token_budgets: TokenBudgets::UNLIMITED,
};

/// Decides a command of an operator, or a request that needs a transaction of its own, and writes its changes, which take effect when the
/// caller commits. No task of a server hears of a turn that it ends. A refusal writes nothing.
pub async fn decide_inline<D: Decision>(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    command: &D,
) -> Result<Result<D::Reply, Error>, StoreError> {
    let mut plan = LoadPlan::default();
    command.plan(&mut plan, clock.now());
    // Not a shared cache, because the transaction may have changed the configuration.
    let (tables, now) = read(conn.reborrow(), plan, &ConfigCache::default(), clock).await?;
    let context = DecisionContext {
        now,
        instant: Instant::now(),
        clock,
        ids,
        // Turns are started by no process here.
        process: ProcessId(Uuid::nil()),
        bounds: UNLIMITED,
    };
    let mut batch = Batch::new(context, SlotBudget::default(), tables);
    let outcome = command.decide(&mut batch);
    if outcome.is_ok() {
        let (tables, changes, _) = batch.finish();
        write_rare(conn.reborrow(), &tables, &changes, now, (clock, ids)).await?.execute(conn).await?;
    }
    Ok(outcome)
}
