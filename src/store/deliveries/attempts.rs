//! Attempts at deliveries, and their effect on the delivery and the endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::QueryBuilder;

use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{
    Attempt, AttemptOutcome, DeliveryKey, DeliveryOutcome, DeliveryState, Disposition, OutcomeWrite,
};
use crate::domain::ids::{EndpointId, ProcessId, WorkspaceId};
use crate::store::{Conn, StoreError, bind_chunks, insert_row, insert_rows, on_conn, store_now};

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
    let mut owned = Vec::new();
    for ended in bind_chunks(&sorted, 8) {
        let numbers = finish_deliveries(conn.reborrow(), process, ended, now).await?;
        let mut attempts: Vec<NumberedAttempt<'_>> = Vec::new();
        for OutcomeWrite { key, outcome, .. } in ended {
            if let (DeliveryOutcome::Attempted(attempt, _), Some(number)) = (outcome, numbers.get(key)) {
                attempts.push((*key, *number, attempt));
            }
        }
        insert_rows(conn.reborrow(), &attempts, "").await?;
        owned.extend(ended.iter().copied().filter(|ended| numbers.contains_key(&ended.key)));
    }
    update_failing_since(conn, &owned, now).await
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
    for marks in bind_chunks(&all, 3) {
        let changed = lock_changed_endpoints(conn.reborrow(), marks).await?;
        toggle_failing_since(conn.reborrow(), &changed, now).await?;
    }
    Ok(())
}

/// Locks and returns the endpoints whose `failing_since` has to change, in one order for all processes. Others stay
/// unlocked, because every batch of the workspace reads its endpoints.
async fn lock_changed_endpoints(
    conn: Conn<'_>,
    marks: &[(EndpointKey, bool)],
) -> Result<Vec<EndpointKey>, StoreError> {
    let lock = conn.pick(" for no key update of p", "");
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select p.workspace_id, p.id from (");
        query.push_values(marks, |mut row, ((workspace, endpoint), is_failing)| {
            row.push_bind(*workspace).push_bind(*endpoint).push_bind(*is_failing);
        });
        query.push(
            ") as new join webhook_endpoints p on p.workspace_id = new.column1 and p.id = new.column2 \
             where (p.failing_since is not null) <> new.column3 order by p.workspace_id, p.id",
        );
        query.push(lock).build_query_as().fetch_all(c).await?
    }))
}

/// Toggles `failing_since`: sets it where it is null, else clears it.
async fn toggle_failing_since(
    conn: Conn<'_>,
    endpoints: &[EndpointKey],
    now: Micros,
) -> Result<(), StoreError> {
    if endpoints.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "update webhook_endpoints set failing_since = case when failing_since is null then ",
        );
        query.push_bind(now).push(" end where (workspace_id, id) in (");
        query.push_values(endpoints, |mut row, (workspace, endpoint)| {
            row.push_bind(*workspace).push_bind(*endpoint);
        });
        query.push(")").build().execute(c).await?;
    });
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

/// Writes the outcomes and returns the number of attempts of each delivery that was still owned.
async fn finish_deliveries(
    conn: Conn<'_>,
    process: ProcessId,
    ended: &[&OutcomeWrite],
    now: Micros,
) -> Result<HashMap<DeliveryKey, i64>, StoreError> {
    let rows: Vec<(WorkspaceId, EndpointId, i64, i64)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "update deliveries set state = new.column5, owner = null, fence = fence + 1, \
             attempts = attempts + new.column6, not_before = coalesce(new.column7, not_before), \
             ended_at = new.column8 from (",
        );
        query.push_values(ended, |mut values, ended| {
            let (state, more, not_before, ended_at) = delivery_columns(&ended.outcome, now);
            values.push_bind(ended.key.workspace).push_bind(ended.key.endpoint).push_bind(ended.key.cursor);
            values.push_bind(ended.fence).push_bind(state).push_bind(more);
            values.push_bind(not_before).push_bind(ended_at);
        });
        query.push(
            ") as new where workspace_id = new.column1 and endpoint_id = new.column2 \
             and cursor = new.column3 and fence = new.column4 and state = 'running' and owner = ",
        );
        query.push_bind(process).push(" returning workspace_id, endpoint_id, cursor, attempts");
        query.build_query_as().fetch_all(c).await?
    });
    let number =
        |(workspace, endpoint, cursor, number)| (DeliveryKey { workspace, endpoint, cursor }, number);
    Ok(rows.into_iter().map(number).collect())
}

/// An attempt with the key of its delivery and its number there.
type NumberedAttempt<'a> = (DeliveryKey, i64, &'a Attempt);

insert_row!(NumberedAttempt<'_>, "attempts", attempt_columns, |row| {
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
