//! Claims of queued turns. They are claimed by workspace, so that the backlog of one does not hide the turns of another. A claim
//! locks no rows but turns, and skips locked ones.

use uuid::Uuid;

use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::{ProcessId, WorkspaceId};
use crate::domain::turn::{Api, Turn};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// A workspace with due turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueWorkspace {
    pub workspace: WorkspaceId,
    /// When its first turn became due.
    pub since: Micros,
}

/// The number of turns to claim for a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    pub workspace: WorkspaceId,
    pub count: usize,
}

/// `$1`: API; `$2`: time of the database clock. A recursive skip scan over the index of queued turns visits each workspace once,
/// however many turns it has.
const DUE_POSTGRES: &str = "with recursive due (w, since) as (\
     (select workspace_id, not_before from turns where state = 'queued' and api = $1 \
      order by workspace_id, not_before limit 1) \
     union all \
     select n.workspace_id, n.not_before from due cross join lateral \
     (select workspace_id, not_before from turns where state = 'queued' and api = $1 and workspace_id > due.w \
      order by workspace_id, not_before limit 1) n) \
     select w, since from due where since <= $2";
const DUE_SQLITE: &str = "with recursive due (w, since) as (\
     select * from (select workspace_id, not_before from turns where state = 'queued' and api = $1 \
      order by workspace_id, not_before limit 1) \
     union all \
     select n.workspace_id, n.not_before from due join turns n on n.rowid = \
     (select rowid from turns where state = 'queued' and api = $1 and workspace_id > due.w \
      order by workspace_id, not_before limit 1)) \
     select w, since from due where since <= $2";

/// The workspaces with due turns of an API.
pub async fn list_due(
    mut conn: Conn<'_>,
    api: Api,
    clock: &dyn Clock,
) -> Result<Vec<DueWorkspace>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let list = conn.pick(DUE_POSTGRES, DUE_SQLITE);
    let rows: Vec<(WorkspaceId, Micros)> =
        on_conn!(conn, |c| sqlx::query_as(list).bind(api).bind(now).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(workspace, since)| DueWorkspace { workspace, since }).collect())
}

/// The claimable turns of one workspace, longest due first. `$1`: process; `$2`: API; `$3`: time of the database clock; `$4`: most
/// takeovers. A turn whose reply another process streams is left to that for two seconds; after that it may have died.
macro_rules! claimable {
    ($workspace:literal, $count:literal) => {
        concat!(
            "select workspace_id, id from turns where state = 'queued' and api = $2 and workspace_id = ",
            $workspace,
            " and not_before <= $3 and (deadline_at is null or deadline_at > $3) and takeovers <= $4 \
             and (stream_process is null or stream_process = $1 or not_before <= $3 - 2000000) \
             order by not_before limit ",
            $count
        )
    };
}

/// The end of both claims. `$1`: process.
macro_rules! update_picked {
    () => {
        concat!(
            " update turns set state = 'running', owner = $1, fence = fence + 1, not_before = $3, \
             first_started_at = coalesce(first_started_at, $3) from picked \
             where workspace_id = picked.w and id = picked.i returning ",
            turn_columns!()
        )
    };
}

const CLAIM_POSTGRES: &str = concat!(
    "with picked (w, i) as materialized (select t.workspace_id, t.id \
     from unnest($5::uuid[], $6::bigint[]) as e (w, k) cross join lateral (",
    claimable!("e.w", "e.k"),
    " for no key update skip locked) t)",
    update_picked!()
);
const CLAIM_SQLITE: &str = concat!("with picked (w, i) as (", claimable!("$5", "$6"), ")", update_picked!());

/// Claims at most the requested number of turns of each workspace, longest waiting first. Turns that are due to be ended are left out:
/// those past their deadline, and those taken over more than `max_takeovers` times, because such a turn may crash every process that
/// runs it. Turns whose replies other processes stream are left to those for two seconds.
pub async fn claim(
    mut conn: Conn<'_>,
    process: ProcessId,
    api: Api,
    requests: &[ClaimRequest],
    max_takeovers: i64,
    clock: &dyn Clock,
) -> Result<Vec<Turn>, StoreError> {
    let now = store_now(conn.reborrow(), clock).await?;
    let count = |request: &ClaimRequest| i64::try_from(request.count).unwrap_or(i64::MAX);
    Ok(match conn {
        Conn::Postgres(c) => {
            let workspaces: Vec<Uuid> = requests.iter().map(|request| request.workspace.0).collect();
            let counts: Vec<i64> = requests.iter().map(count).collect();
            let query = sqlx::query_as::<_, Turn>(CLAIM_POSTGRES);
            let query = query.bind(process).bind(api).bind(now).bind(max_takeovers);
            query.bind(workspaces).bind(counts).fetch_all(c).await?
        }
        Conn::Sqlite(c) => {
            let mut turns = Vec::new();
            for request in requests {
                let query = sqlx::query_as::<_, Turn>(CLAIM_SQLITE);
                let query = query.bind(process).bind(api).bind(now).bind(max_takeovers);
                turns.extend(query.bind(request.workspace).bind(count(request)).fetch_all(&mut *c).await?);
            }
            turns
        }
    })
}
