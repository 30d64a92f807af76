//! Attempts at deliveries, and what they make of their delivery and endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::QueryBuilder;

use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{
    Attempt, AttemptOutcome, DeliveryKey, DeliveryOutcome, DeliveryState, Disposition, OutcomeWrite,
};
use crate::domain::ids::{EndpointId, ProcessId, WorkspaceId};
use crate::store::{Conn, StoreError, bind_chunks, on_conn, store_now};

type EndpointKey = (WorkspaceId, EndpointId);

/// Writes how a process's holds on deliveries ended, the attempts with them. What it does not own any
/// more, by the fence, is left as it is. Each delivery may be named once.
pub async fn record(
    mut conn: Conn<'_>,
    process: ProcessId,
    ended: &[OutcomeWrite],
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let mut sorted: Vec<&OutcomeWrite> = ended.iter().collect();
    // Locked in one order, whoever writes them.
    sorted.sort_unstable_by_key(|ended| ended.key);
    let mut owned = Vec::new();
    for ended in bind_chunks(&sorted, 8) {
        let numbers = finish_deliveries(conn.reborrow(), process, ended, now).await?;
        let mut attempts = Vec::new();
        for OutcomeWrite { key, outcome, .. } in ended {
            if let (DeliveryOutcome::Attempted(attempt, _), Some(number)) = (outcome, numbers.get(key)) {
                attempts.push((*key, *number, attempt));
            }
        }
        insert(conn.reborrow(), &attempts).await?;
        owned.extend(ended.iter().copied().filter(|ended| numbers.contains_key(&ended.key)));
    }
    update_failing_since(conn, &owned, now).await
}

/// Keeps `failing_since`: set by the first failure since a success, and emptied by a success.
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

/// The endpoints that are not yet marked so, locked in one order, whoever marks them. Only these: an
/// endpoint's row is read by every batch of its workspace.
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

/// Turns `failing_since` over: set where there is none, and else emptied.
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

/// What is written of a delivery: its state, how many attempts more, when it may be claimed, when it ended.
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

/// The number of attempts of each delivery that was still owned.
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

async fn insert(mut conn: Conn<'_>, rows: &[(DeliveryKey, i64, &Attempt)]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 9) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into attempts (workspace_id, endpoint_id, cursor, number, started_at, finished_at, \
                 status, outcome, excerpt) ",
            );
            query.push_values(rows, |mut values, (key, number, attempt)| {
                values.push_bind(key.workspace).push_bind(key.endpoint).push_bind(key.cursor);
                values.push_bind(*number).push_bind(attempt.started_at).push_bind(attempt.finished_at);
                values.push_bind(attempt.status.map(i64::from)).push_bind(attempt.outcome);
                values.push_bind(attempt.excerpt.as_deref());
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
