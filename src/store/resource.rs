//! Resources of a workspace that are found by their id, and listed in the order of their ids, which is that of their age.

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Conn, PageRow, PageRows, ReadLimit, StoreError, on_conn};
use crate::domain::ids::{ResourceId, WorkspaceId};

/// A resource with its statements. Both leave out archived rows.
pub trait Resource: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {
    type Id: ResourceId;
    /// The resource of the workspace `$1` with the id `$2`.
    const FIND: &'static str;
    /// The resources of the workspace `$1` with ids after `$2`, in the order of their ids: the rows of `resource_page!`, with
    /// `candidates`.
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

/// The relation `page` for a [`Resource::LIST`], with the column `page_id`: at most `$3` rows, of at most `$4` bytes.
macro_rules! resource_page {
    ($table:literal, $size:literal) => {
        $crate::store::page_of!(
            keys: (
                "select id as page_id, ",
                $size,
                " as row_size from ",
                $table,
                " where archived_at is null and workspace_id = $1 and id > $2 order by id limit $3 + 1"
            ),
            order: ("page_id"),
            fits: "nth <= $3 and (bytes <= $4 or nth = 1)"
        )
    };
}
pub(super) use resource_page;

/// The first resources after `after`.
pub async fn list<R: Resource>(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<R::Id>,
    limit: ReadLimit,
) -> Result<PageRows<R>, StoreError> {
    let after = after.map_or(Uuid::nil(), ResourceId::uuid);
    let rows: Vec<PageRow<R>> = on_conn!(conn, |c| {
        let query = sqlx::query_as(R::LIST).bind(workspace).bind(after);
        query.bind(limit.rows).bind(limit.bytes).fetch_all(c).await?
    });
    Ok(rows.into())
}
