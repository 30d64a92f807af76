//! Resources of a workspace that are found by their id, and listed in the order of their ids, which is that of their age.

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Conn, StoreError, on_conn};
use crate::domain::ids::{ResourceId, WorkspaceId};

/// A resource with its statements. Both leave out archived rows.
pub trait Resource: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {
    type Id: ResourceId;
    /// The resource of the workspace `$1` with the id `$2`.
    const FIND: &'static str;
    /// At most `$3` resources of the workspace `$1` with ids after `$2`, in the order of their ids.
    const LIST: &'static str;

    fn id(&self) -> Self::Id;
}

/// A resource of the workspace.
pub async fn find<R: Resource>(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: R::Id,
) -> Result<Option<R>, StoreError> {
    Ok(on_conn!(conn, |c| sqlx::query_as(R::FIND).bind(workspace).bind(id.uuid()).fetch_optional(c).await?))
}

/// At most `limit` resources after `after`.
pub async fn list<R: Resource>(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<R::Id>,
    limit: i64,
) -> Result<Vec<R>, StoreError> {
    let after = after.map_or(Uuid::nil(), ResourceId::uuid);
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(R::LIST).bind(workspace).bind(after).bind(limit).fetch_all(c).await?
    }))
}
