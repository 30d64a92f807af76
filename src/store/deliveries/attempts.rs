//! Attempts at deliveries, and their effect on the delivery and the endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{
    Attempt, AttemptOutcome, DeliveryKey, DeliveryOutcome, DeliveryState, Disposition, OutcomeWrite,
};
use crate::domain::ids::{EndpointId, ProcessId, WorkspaceId};
use crate::store::{Columns, Conn, StoreError, columns, execute, fetch, insert_row, insert_rows, store_now};

type EndpointKey = (WorkspaceId, EndpointId);

/// Writes the outcomes of a process's deliveries, with their attempts. Deliveries that the process no longer owns,
/// judged by the fence, are skipped. `ended` must name each delivery at most once.
pub async fn record(
    mut conn: Conn<'_>,
    process: ProcessId,
    ended: &[OutcomeWrite],
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let mut sorted: Vec<&OutcomeWrite> = ended.iter().collect();
    // All processes lock in the same order, so that they never deadlock.
    sorted.sort_unstable_by_key(|ended| ended.key);
    let numbers = finish_deliveries(conn.reborrow(), process, &sorted, now).await?;
    let mut attempts: Vec<NumberedAttempt<'_>> = Vec::new();
    for OutcomeWrite { key, outcome, .. } in &sorted {
        if let (DeliveryOutcome::Attempted(attempt, _), Some(number)) = (outcome, numbers.get(key)) {
            attempts.push((*key, *number, attempt));
        }
    }
    insert_rows(conn.reborrow(), &attempts, "").await?;
    sorted.retain(|ended| numbers.contains_key(&ended.key));
    update_failing_since(conn, &sorted, now).await
}

/// Maintains `failing_since`: the first failure after a success sets it, a success clears it.
async fn update_failing_since(
    mut conn: Conn<'_>,
    ended: &[&OutcomeWrite],
    now: Micros,
) -> Result<(), StoreError> {
    let (mut succeeded, mut failing): (BTreeSet<EndpointKey>, BTreeSet<EndpointKey>) =
        (BTreeSet::new(), BTreeSet::new());
    for OutcomeWrite { key, outcome, .. } in ended {
        match outcome {
            DeliveryOutcome::Attempted(attempt, _) if attempt.outcome == AttemptOutcome::Delivered => {
                succeeded.insert((key.workspace, key.endpoint));
            }
            DeliveryOutcome::Attempted(..) => {
                failing.insert((key.workspace, key.endpoint));
            }
            DeliveryOutcome::HandedBack | DeliveryOutcome::Closed => {}
        }
    }
    let succeeded = succeeded.iter().map(|key| (*key, false));
    let all: BTreeMap<EndpointKey, bool> = failing.iter().map(|key| (*key, true)).chain(succeeded).collect();
    let all: Vec<_> = all.into_iter().collect();
    let changed = lock_changed_endpoints(conn.reborrow(), &all).await?;
    toggle_failing_since(conn, &changed, now).await
}

/// Locks and returns the endpoints whose `failing_since` has to change, in one order for all processes. Others stay
/// unlocked, because every batch of the workspace reads its endpoints.
async fn lock_changed_endpoints(
    conn: Conn<'_>,
    marks: &[(EndpointKey, bool)],
) -> Result<Vec<EndpointKey>, StoreError> {
    const MARKS: Columns<(EndpointKey, bool)> =
        columns!(|mark| { "key_workspace": mark.0.0, "key_id": mark.0.1, "is_failing": mark.1 });
    macro_rules! lock {
        ($lock:literal) => {
            concat!(
                "select workspace_id, id from new cross join webhook_endpoints \
                 where workspace_id = key_workspace and id = key_id \
                 and (failing_since is not null) <> is_failing order by workspace_id, id",
                $lock
            )
        };
    }
    let lock = conn.pick(lock!(" for no key update of webhook_endpoints"), lock!(""));
    fetch(conn, &MARKS, marks, lock).await
}

/// Toggles `failing_since`: sets it where it is null, else clears it.
async fn toggle_failing_since(
    conn: Conn<'_>,
    endpoints: &[EndpointKey],
    now: Micros,
) -> Result<(), StoreError> {
    const ROWS: Columns<(EndpointKey, Micros)> =
        columns!(|row| { "key_workspace": row.0.0, "key_id": row.0.1, "now": row.1 });
    const TOGGLE: &str = "update webhook_endpoints \
        set failing_since = case when failing_since is null then new.now end from new \
        where workspace_id = key_workspace and id = key_id";
    let rows: Vec<_> = endpoints.iter().map(|key| (*key, now)).collect();
    execute(conn, &ROWS, &rows, TOGGLE).await?;
    Ok(())
}

/// The columns of a delivery after an outcome: state, number of new attempts, `not_before`, `ended_at`.
fn delivery_columns(
    outcome: &DeliveryOutcome,
    now: Micros,
) -> (DeliveryState, i64, Option<Micros>, Option<Micros>) {
    match outcome {
        DeliveryOutcome::Attempted(_, Disposition::Delivered) => {
            (DeliveryState::Delivered, 1, None, Some(now))
        }
        DeliveryOutcome::Attempted(_, Disposition::Retry(pause)) => {
            (DeliveryState::Queued, 1, Some(now.plus(*pause)), None)
        }
        DeliveryOutcome::Attempted(_, Disposition::Failed) => (DeliveryState::Failed, 1, None, Some(now)),
        DeliveryOutcome::HandedBack => (DeliveryState::Queued, 0, None, None),
        DeliveryOutcome::Closed => (DeliveryState::Closed, 0, None, Some(now)),
    }
}

/// The outcome of a delivery that a process owns.
type OwnedOutcome<'a> = (ProcessId, &'a OutcomeWrite, Micros);

/// Writes the outcomes and returns the number of attempts of each delivery that was still owned.
async fn finish_deliveries(
    conn: Conn<'_>,
    process: ProcessId,
    ended: &[&OutcomeWrite],
    now: Micros,
) -> Result<HashMap<DeliveryKey, i64>, StoreError> {
    const FINISH: &str = "update deliveries set state = new.state, owner = null, fence = fence + 1, \
        attempts = attempts + new.more, not_before = coalesce(new.not_before, deliveries.not_before), \
        ended_at = new.ended_at from new where workspace_id = key_workspace and endpoint_id = key_endpoint \
        and cursor = key_cursor and fence = key_fence and deliveries.state = 'running' and owner = key_owner \
        returning workspace_id, endpoint_id, cursor, attempts";
    let outcomes: Columns<OwnedOutcome<'_>> = columns!(|row| {
        "key_workspace": row.1.key.workspace,
        "key_endpoint": row.1.key.endpoint,
        "key_cursor": row.1.key.cursor,
        "key_fence": row.1.fence,
        "key_owner": row.0,
        "state": delivery_columns(&row.1.outcome, row.2).0,
        "more": delivery_columns(&row.1.outcome, row.2).1,
        "not_before": delivery_columns(&row.1.outcome, row.2).2,
        "ended_at": delivery_columns(&row.1.outcome, row.2).3,
    });
    let rows: Vec<_> = ended.iter().map(|ended| (process, *ended, now)).collect();
    let written: Vec<(WorkspaceId, EndpointId, i64, i64)> = fetch(conn, &outcomes, &rows, FINISH).await?;
    let number =
        |(workspace, endpoint, cursor, number)| (DeliveryKey { workspace, endpoint, cursor }, number);
    Ok(written.into_iter().map(number).collect())
}

/// An attempt with the key of its delivery and its number there.
type NumberedAttempt<'a> = (DeliveryKey, i64, &'a Attempt);

insert_row!(NumberedAttempt<'_>, "attempts", |row| {
    "workspace_id": row.0.workspace,
    "endpoint_id": row.0.endpoint,
    "cursor": row.0.cursor,
    "number": row.1,
    "started_at": row.2.started_at,
    "finished_at": row.2.finished_at,
    "status": row.2.status.map(i64::from),
    "outcome": row.2.outcome,
    "excerpt": row.2.excerpt.as_deref(),
});
