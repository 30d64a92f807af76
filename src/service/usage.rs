//! Usage of workspaces: counted in the background and before an answer, and summed up for queries.

use std::time::Duration;

use uuid::Uuid;

use super::Services;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::usage::{Group, MAX_ROWS, Period, UsageRow};
use crate::store::{Conn, Db, StoreError, Tenant, usage};

/// The most parts that a request counts before it answers. The worker counts the rest.
const MAX_PARTS: usize = 64;

/// The most workspaces that a request for the usage of all workspaces counts before it answers.
const MAX_WORKSPACES: i64 = 256;

const NOT_COUNTED: Error =
    Error::Overloaded { text: "The usage is still being counted", retry_after: Duration::from_secs(5) };

/// Counts the next part of a workspace. Returns whether more is left.
pub async fn count_part(db: &Db, tenant: Tenant, workspace: WorkspaceId) -> Result<bool, StoreError> {
    let read = async |conn: Conn<'_>| usage::read_uncounted(conn, workspace).await;
    let Some(uncounted) = db.read(tenant, read).await? else { return Ok(false) };
    let is_counted = db.write(tenant, async |conn| usage::count(conn, &uncounted).await).await?;
    Ok(uncounted.has_more || !is_counted)
}

/// Counts everything that has happened in a workspace so far. Call this before events, journals, messages, turns or ledger entries of the
/// workspace are removed.
pub async fn catch_up(db: &Db, workspace: WorkspaceId) -> Result<(), StoreError> {
    while count_part(db, Tenant::Process, workspace).await? {}
    Ok(())
}

/// A query of usage.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// None: all workspaces.
    pub workspace: Option<WorkspaceId>,
    pub buckets: Vec<Period>,
    pub groups: Vec<Group>,
}

/// The figures of each bucket and group with any usage, in the order of their keys. Figures of one workspace include everything that was
/// committed before the call; figures of all workspaces may lack the last seconds.
pub async fn read(services: &Services, query: &UsageQuery) -> Result<Vec<UsageRow>, Error> {
    let tenant = query.workspace.map_or(Tenant::Process, Tenant::Workspace);
    if let Some(workspace) = query.workspace {
        count_now(&services.db, workspace).await?;
    } else {
        count_all(&services.db).await?;
    }
    let sum = async |conn: Conn<'_>| usage::sum(conn, query.workspace, &query.buckets, &query.groups).await;
    let mut rows = services.db.read(tenant, sum).await?;
    if rows.len() > MAX_ROWS {
        let text = format!(
            "The answer has more than {MAX_ROWS} rows. Query a shorter period, larger buckets with 'bucket', or fewer groups with \
             'group_by'."
        );
        return Err(Error::invalid("group_by", text));
    }
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(rows)
}

async fn count_now(db: &Db, workspace: WorkspaceId) -> Result<(), Error> {
    for _ in 0..MAX_PARTS {
        if !count_part(db, workspace.into(), workspace).await? {
            return Ok(());
        }
    }
    Err(NOT_COUNTED)
}

async fn count_all(db: &Db) -> Result<(), StoreError> {
    let first = WorkspaceId(Uuid::nil());
    let list = async |conn: Conn<'_>| usage::list_behind(conn, first, MAX_WORKSPACES).await;
    for workspace in db.read(Tenant::Process, list).await? {
        count_part(db, Tenant::Process, workspace).await?;
    }
    Ok(())
}
